"""The files of an experiment and of each of its trials, listed once: for rules, status, tables, partial and the report.

Names only, nothing is read. Files of a trial are in `Trial.folder` below results/{experiment}:

    {dataset}/{size}px/images.h5
    {dataset}/{size}px/{encoder}/{trial}/model.safetensors ... {evaluator}.csv
    logs/{rule}/{trial's folder}.log, benchmarks/{rule}/{trial's folder}.tsv; of an evaluator, {trial's folder}/{name}
    tables/*.csv, figures/{dataset}/{size}px/*.svg, report/index.html

Light on purpose (no torch, no pandas): imported while the Snakefile is parsed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visrec.experiment import registry
from visrec.experiment.trials import Trial

MODEL = "model.safetensors"
STATUS = "status.json"
HISTORY = "history.csv"
EMBEDDINGS = "embeddings.h5"
LAYERS = "layers.csv"
COST = "embed.json"
NEIGHBOURS = "neighbours.csv"
PROJECTION = "projection.csv"
ATLAS = "atlas.csv"
SELECTORS = "selectors.csv"

TABLES = "tables"
FIGURES = "figures"
PAGE = "report/index.html"
LEADERBOARD = "leaderboard.csv"  # in tables


@dataclass(frozen=True)
class Experiment:
    """What tables, figures and the report are made of.

    Attributes:
        results: results/{experiment}.
        trials: in the order of the config.
        evaluators: their names, in the order of the config.
    """

    results: Path
    trials: Sequence[Trial]
    evaluators: Sequence[str]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.results.name

    def of(self, trials: Sequence[Trial]) -> "Experiment":
        """The same experiment with some of its trials."""
        return replace(self, trials=trials)

    def path(self, trial: Trial, name: str) -> Path:
        """A file of a trial."""
        return self.results / trial.folder / name

    def images(self, dataset: str, size: int) -> Path:
        """The images of a dataset at a size."""
        return self.results / images(dataset, size)

    def log(self, rule: str, trial: Trial, evaluator: str = "") -> Path:
        """The log of a trial's job, as Snakemake knows it."""
        return self.results / f"logs/{rule}/{_job(trial, evaluator)}.log"

    def benchmark(self, rule: str, trial: Trial, evaluator: str = "") -> Path:
        """Time and memory of a trial's job, as Snakemake measured them."""
        return self.results / f"benchmarks/{rule}/{_job(trial, evaluator)}.tsv"


def _job(trial: Trial, evaluator: str) -> str:
    return f"{trial.folder}/{evaluator}" if evaluator else trial.folder


def images(dataset: str, size: int) -> str:
    """The images of a dataset at a size, below results/{experiment}."""
    return f"{dataset}/{size}px/images.h5"


def scores(evaluator: str) -> str:
    """What an evaluator measured of a trial."""
    return f"{evaluator}.csv"


def query_scores(evaluator: str) -> str:
    """What an evaluator measured of each query of a trial."""
    return f"{evaluator}.h5"


def has_atlas(encoder: str, evaluators: Iterable[str]) -> bool:
    """Whether the layers of an encoder are scored one by one: if it has feature maps, and pictures have labels."""
    return bool(registry.declared("encoders", encoder).get("ATLAS")) and bool(list(evaluators))


def picture_kinds(trial: Trial) -> list[str]:
    """What is drawn of a trial, the literal PICTURES of its encoder: such as "samples"."""
    return list(trial.declared.get("PICTURES", ()))


def picture(kind: str) -> str:
    """The file of one of `picture_kinds`."""
    return f"{kind}.png"


def pictures(trial: Trial) -> list[str]:
    """What is drawn of a trial; nothing for most encoders."""
    return [picture(kind) for kind in picture_kinds(trial)]


def model_files(trial: Trial) -> list[str]:
    """What `fit` or `train` made of a trial and `embed` reads; nothing for encoders that need neither."""
    return [MODEL, STATUS] if trial.stage else []


def table_files(trial: Trial, evaluators: Sequence[str]) -> list[str]:
    """What the tables are made of."""
    return [
        *map(scores, evaluators),
        *map(query_scores, evaluators),
        LAYERS,
        COST,
        *([ATLAS] if has_atlas(trial.encoder, evaluators) else []),
        *([SELECTORS] if trial.stage == "train" else []),
    ]


def figure_files(trial: Trial) -> list[str]:
    """What the figures are made of, besides the tables."""
    return [HISTORY] if trial.stage == "train" else []


def page_files(trial: Trial) -> list[str]:
    """What the report's page shows, besides tables and figures."""
    return [NEIGHBOURS, PROJECTION, *([STATUS] if trial.stage else []), *pictures(trial)]


def report_files(trial: Trial, evaluators: Sequence[str]) -> list[str]:
    """All that tables, figures and the page read of a trial: it is finished once they are there."""
    return list(dict.fromkeys([*table_files(trial, evaluators), *figure_files(trial), *page_files(trial)]))


def final_files(trial: Trial, evaluators: Sequence[str]) -> list[str]:
    """The outputs of a trial's last jobs: what is there when nothing is left to do for it."""
    return [
        *map(scores, evaluators),
        NEIGHBOURS,
        PROJECTION,
        *([ATLAS] if has_atlas(trial.encoder, evaluators) else []),
        *([SELECTORS] if trial.stage == "train" else []),
        *pictures(trial),
    ]


def jobs(trial: Trial, evaluators: Sequence[str]) -> list[tuple[str, str]]:
    """(rule, evaluator, kind of picture or "") of the jobs that make a trial's files, in their order."""
    after = ["neighbours", "projection", "atlas" if has_atlas(trial.encoder, evaluators) else None]
    after += ["selection" if trial.stage == "train" else None]
    return [
        *([(trial.stage, "")] if trial.stage else []),
        *(("draw", kind) for kind in picture_kinds(trial)),
        ("embed", ""),
        *(("evaluate", evaluator) for evaluator in evaluators),
        *((rule, "") for rule in after if rule),
    ]
