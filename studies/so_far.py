"""Which encoders are measurably apart, of the trials that are evaluated so far?

`make partial` renders the page of trials of which everything is there. This asks for their scores alone, no atlas, map
or neighbours, and writes comparisons.csv, leaderboard.csv and the other tables as a full run would of these trials.
With `--seed` of one seed each, so that encoders with more seeds are not judged over them.

    .venv/bin/python studies/so_far.py --configfile config/teachers.yaml --seed 0
"""

from pathlib import Path

import asked

from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report import TABLES
from visrec.report.tables import tables

NOT_SCORES = (layout.ATLAS, layout.SELECTORS)


def evaluated(experiment: Experiment) -> Experiment:
    """The same experiment with the trials of which all scores are there."""

    def done(trial: Trial) -> bool:
        needed = (name for name in layout.table_files(trial, experiment.evaluators) if name not in NOT_SCORES)
        return all(experiment.path(trial, name).exists() for name in needed)

    return experiment.of([trial for trial in experiment.trials if done(trial)])


def main() -> None:
    """Write the tables and say what is in them."""
    parser = asked.parser_of_all(__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder; by default results/EXPERIMENT/so-far")
    arguments = parser.parse_args()
    whole = asked.experiment_of(parser, arguments)
    found = evaluated(whole)
    if not found.trials:
        parser.error(f"{whole.results}: none of {len(whole.trials)} trials is evaluated yet")
    out = arguments.out or found.results / "so-far"
    tables(found, {key: out / name for key, name in TABLES.items()})
    print(f"{len(found.trials)} of {len(whole.trials)} trials are evaluated; their tables are in {out}")


if __name__ == "__main__":
    main()
