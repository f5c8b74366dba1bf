"""What the jobs of an experiment's trials wrote, read for the tables and the report."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from visrec.data.csv_files import read_table, read_text
from visrec.data.models import USABLE, read_facts
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.headline import GROUP
from visrec.report.verdict import missing
from visrec.scoring import layers, metrics

SCORES = [*GROUP, "trial", "seed", "evaluator", "protocol", "metric", "split", "k", "distance", "features", "average"]
SCORES += ["duplicates", "value", "low", "high", "n", "chance", "majority", "lift", "status"]
_MEASURED = [name for name in SCORES if name not in (*GROUP, "trial", "seed", "evaluator", "lift")]
LAYERS = [*GROUP, "trial", *layers.COLUMNS]
ATLAS = [*GROUP, "trial", "seed"]  # in front of the atlas's own columns
UNFINISHED = "unfinished"
UNKNOWN_PICTURES = "unknown pictures"


class State(NamedTuple):
    """How a trial ended: "ok", "unstable", "collapsed", "diverged", "unfinished" or what an evaluator says, and why."""

    status: str
    reason: str

    @property
    def scored(self) -> bool:
        """Whether it has scores that count."""
        return self.status in USABLE


def columns_of(trial: Trial, names: Iterable[str]) -> dict[str, Any]:
    """The columns of a table that say whose a row is: dataset, size, encoder, trial (its name) and seed."""
    known = {"dataset": trial.dataset, "size": trial.size, "encoder": trial.encoder, "trial": trial.name}
    known |= {"seed": trial.seed}
    return {name: known[name] for name in names}


def disclosures(trials: Iterable[Trial]) -> dict[str, str]:
    """Encoder -> what has to be said wherever its scores stand; nothing of those that learn here without labels.

    "trained with labels" of one that declares LABELS; "pretrained on ..." of one that declares PRETRAINED, whose own
    weights these are unless its option `weights` names others, and then by its option `trained_on`.
    """
    found: dict[str, dict[str, None]] = {}
    for trial in trials:
        if trial.declared.get("LABELS"):
            found.setdefault(trial.encoder, {})["trained with labels"] = None
        if "PRETRAINED" in trial.declared:
            given = trial.options["trained_on"] or UNKNOWN_PICTURES
            on = given if trial.options["weights"] else trial.declared["PRETRAINED"]
            found.setdefault(trial.encoder, {})[f"pretrained on {on}"] = None
    return {encoder: "; ".join(texts) for encoder, texts in found.items()}


def titles(trials: Iterable[Trial]) -> dict[str, str]:
    """Encoder -> what it is in a few words, the literal TITLE of its file; nothing of those without."""
    return {trial.encoder: trial.declared["TITLE"] for trial in trials if trial.declared.get("TITLE")}


def read_status(experiment: Experiment, trial: Trial) -> dict[str, Any]:
    """status.json of a trial; empty for encoders that are neither trained nor fitted."""
    path = experiment.path(trial, layout.STATUS)
    return read_facts(path) if path.exists() else {}


def read_cost(experiment: Experiment, trial: Trial) -> dict[str, Any]:
    """embed.json of a trial: what its embedding cost and ran on; empty where there is none."""
    path = experiment.path(trial, layout.COST)
    return read_facts(path) if path.exists() else {}


def benchmark(experiment: Experiment, rule: str, trial: Trial, evaluator: str = "") -> dict[str, float]:
    """Seconds (`s`) and peak memory in MB (`max_rss`) of a rule, from Snakemake's benchmark file; NaN if unmeasured.

    Snakemake looks at the memory every so often, so its peak is a lower bound; its MB have 2^20 bytes, ours 10^6.
    """
    path = experiment.benchmark(rule, trial, evaluator)
    if not path.exists():
        return {"s": math.nan, "max_rss": math.nan}
    table = read_text(path, separator="\t").reindex(columns=["s", "max_rss"])
    found = {key: float(pd.to_numeric(table[key], errors="coerce").mean()) for key in table}
    return found | {"max_rss": found["max_rss"] * 2**20 / 1e6}


def read_scores(experiment: Experiment) -> pd.DataFrame:
    """All scores of all trials with lift = (value - chance) / (1 - chance), where 1 is perfect; columns `SCORES`."""
    parts = []
    for trial in experiment.trials:
        for evaluator in experiment.evaluators:
            path = experiment.path(trial, layout.scores(evaluator))
            if path.exists():
                about = columns_of(trial, [*GROUP, "trial", "seed"]) | {"evaluator": evaluator}
                parts.append(read_table(path, needed=_MEASURED).assign(**about))
    scores = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCORES)
    numbers = ["value", "low", "high", "chance", "majority"]
    scores[numbers] = scores[numbers].astype(float)
    scores["k"] = scores["k"].astype("Int64")
    scores["lift"] = metrics.lift(scores["value"], scores["chance"].mask(scores["metric"].isin(metrics.unbounded())))
    return scores[SCORES]


def read_layers(experiment: Experiment) -> pd.DataFrame:
    """layers.csv of all trials that have one, one below the other; columns `LAYERS`."""
    parts = [pd.DataFrame(columns=LAYERS)]
    for trial in experiment.trials:
        path = experiment.path(trial, layout.LAYERS)
        if path.exists():
            parts.append(read_table(path, needed=layers.COLUMNS).assign(**columns_of(trial, [*GROUP, "trial"])))
    return pd.concat(parts, ignore_index=True)[LAYERS]


def read_atlas(experiment: Experiment) -> pd.DataFrame:
    """The atlases of all trials that have one, one below the other; `ATLAS`, then the atlas's own columns."""
    parts = []
    for trial in experiment.trials:
        path = experiment.path(trial, layout.ATLAS)
        if layout.has_atlas(trial.encoder, experiment.evaluators) and path.exists():
            table = read_table(path)
            parts.append(table.assign(**columns_of(trial, ATLAS))[[*ATLAS, *table]])
    filled = [part for part in parts if len(part)]  # empty ones would make whole numbers floats
    return pd.concat(filled, ignore_index=True) if filled else (parts[0] if parts else pd.DataFrame(columns=ATLAS))


def statuses(experiment: Experiment, scores: pd.DataFrame) -> dict[str, State]:
    """The state of each trial, by its folder.

    Args:
        experiment: with the trials.
        scores: rows of scores.csv.
    """
    found = {}
    scored = dict(iter(scores.groupby([*GROUP, "trial"], sort=False)))
    for trial in experiment.trials:
        about = read_status(experiment, trial)
        rows = scored.get((trial.dataset, trial.size, trial.encoder, trial.name))
        lacking = [name for name in experiment.evaluators if rows is None or name not in set(rows["evaluator"])]
        if about.get("status", "ok") not in USABLE:
            found[trial.folder] = State(about["status"], about.get("reason", ""))
        elif rows is not None and (rows["status"] != "ok").all():  # one evaluator without a score spoils no other
            found[trial.folder] = State(rows["status"].iloc[0], "")
        elif lacking:
            found[trial.folder] = State(UNFINISHED, f"not evaluated yet: {', '.join(lacking)}")
        else:
            found[trial.folder] = State(about.get("status", "ok"), about.get("reason", ""))
    return found


def summary_of_known(how: Callable[[list[float]], float], values: Iterable[float | None]) -> float:
    """A summary of the values that are there; NaN if there are none."""
    there = [float(value) for value in values if not missing(value)]
    return float(how(there)) if there else math.nan


def warnings(experiment: Experiment, shown: Mapping[str, str]) -> list[tuple[str, str]]:
    """What embedding warned of in the features of each encoder's shown trial: (encoder, sentence).

    Args:
        experiment: with the trials.
        shown: encoder -> name of its trial.
    """
    trials = [trial for trial in experiment.trials if shown.get(trial.encoder) == trial.name]
    return [(trial.encoder, said) for trial in trials for said in read_cost(experiment, trial).get("warnings", [])]
