"""The rows of a table in docs/results.md: what each trial that is evaluated scored and cost, as Markdown.

Each seed has a row of its own, in percent, with the intervals over queries that its evaluators wrote; leaderboard.csv
of a full run has means over seeds. Minutes are of the CPU, as Snakemake measured them: of the last start alone, so
there are none of a training that was begun more than once.

    .venv/bin/python studies/rows.py --configfile config/teachers.yaml
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asked
from so_far import evaluated

from visrec.data.csv_files import read_text
from visrec.errors import UserError
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report import inputs, score_tables
from visrec.report.leaderboard import groups
from visrec.report.settings import describe

NOT_MEASURED = ""
TAB = "\t"
K = 3
# column: evaluator, metric, decimals, and which of its rows
SCORES = {
    "raw, L2": ("knn", "precision", 1, {"k": K}),
    "raw, cosine": ("knn", "precision", 1, {"k": K, "distance": "cosine"}),
    "whitened, cosine": ("knn", "precision", 1, {"k": K, "features": "whitened", "distance": "cosine"}),
    "output alone": ("knn", "precision", 1, {"k": K, "features": "output"}),
    "MAP@R, L2": ("knn", "map_at_r", 2, {}),
    "MAP@R, cosine": ("knn", "map_at_r", 2, {"distance": "cosine"}),
    "linear SVM": ("svm", "accuracy", 1, {}),
    "SVM, few labels": ("few_labels", "accuracy", 1, {"protocol": "ali"}),
}
COLUMNS = ["", "seed", "pictures seen", "CPU minutes", *SCORES, "error"]


def scored(rows: Sequence[Mapping[str, Any]], evaluator: str, metric: str, decimals: int, which: Mapping) -> str:
    """A score of a trial on test, "47.1 [46.4, 47.9]"."""
    (found,) = score_tables.pick({"": rows}, evaluator, metric, **which).values()
    if found is None:
        return NOT_MEASURED
    value, low, high = (f"{100 * found[name]:.{decimals}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def cpu_minutes(experiment: Experiment, trial: Trial, status: Mapping[str, Any]) -> str:
    """Of a training that was begun once."""
    path = experiment.benchmark("train", trial)
    if status.get("starts") != 1 or not path.exists():
        return NOT_MEASURED
    return f"{float(read_text(path, separator=TAB)['cpu_time'].iloc[0]) / 60:.0f}"


def row(experiment: Experiment, trial: Trial) -> list[str]:
    """The cells of a trial, as `COLUMNS`."""
    status = inputs.read_status(experiment, trial)
    scores = score_tables.of_chosen(inputs.read_scores(experiment.of([trial])), {trial.encoder: trial.name})
    iterations, error = status.get("iterations"), status.get("reconstruction_error")
    return [
        ", ".join(filter(None, [f"`{trial.encoder}`", describe(trial)])),
        str(trial.seed) if trial.declared.get("SEEDED", True) else NOT_MEASURED,
        f"{iterations * status['batch']:,}" if iterations else NOT_MEASURED,
        cpu_minutes(experiment, trial, status),
        *(scored(scores[trial.encoder], *wanted) for wanted in SCORES.values()),
        NOT_MEASURED if error is None else f"{error:.2f}",
    ]


def rows(experiment: Experiment) -> Iterator[list[str]]:
    """The rows of all trials of one dataset and size, by what their encoders have learned from."""
    for title, encoders in groups(experiment.trials).items():
        yield [f"**{title}**", *[NOT_MEASURED] * (len(COLUMNS) - 1)]
        yield from (row(experiment, trial) for trial in experiment.trials if trial.encoder in encoders)


def main() -> None:
    """Print a table for each dataset and size."""
    parser = asked.parser_of_all(__doc__.splitlines()[0])
    arguments = parser.parse_args()
    experiment = evaluated(asked.experiment_of(parser, arguments))
    if not experiment.trials:
        parser.error(f"{experiment.results}: no trial is evaluated yet")
    try:
        for dataset, size in dict.fromkeys((trial.dataset, trial.size) for trial in experiment.trials):
            here = [trial for trial in experiment.trials if (trial.dataset, trial.size) == (dataset, size)]
            print(f"`{dataset}`, {size} px\n")
            for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows(experiment.of(here))):
                print("|", " | ".join(cells), "|")
            print()
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
