"""leaderboard.csv: the setting of each encoder that was best on validation, read on test."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from visrec.experiment import registry
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.headline import GROUP, HEADLINE, HEADLINE_KNN, MACRO, SOURCES, k_of
from visrec.report.inputs import (
    State,
    benchmark,
    columns_of,
    read_cost,
    read_layers,
    read_scores,
    read_status,
    statuses,
    summary_of_known,
)
from visrec.report.resampled import Draws, resampled, score
from visrec.report.settings import by_setting, describe, setting
from visrec.report.verdict import METRICS
from visrec.scoring import metrics

Group = tuple[str, int, str]  # dataset, size and encoder


@dataclass(frozen=True)
class Measured:
    """What was measured of an experiment, and what was chosen by it.

    Attributes:
        experiment: with all its trials.
        scores: rows of scores.csv.
        layers: rows of layers.csv.
        states: of each trial, by its folder.
        k: the headline's number of neighbours.
        chosen: the seeds of each group's chosen setting.
        chosen_by: by what it was chosen, "" where there was no choice.
        draws: "val" and "test" -> (dataset, size) -> the resampled scores.
    """

    experiment: Experiment
    scores: pd.DataFrame
    layers: pd.DataFrame
    states: Mapping[str, State]
    k: int
    chosen: Mapping[Group, Sequence[Trial]]
    chosen_by: Mapping[Group, str]
    draws: Mapping[str, Mapping[tuple[str, int], Draws]]

    def scores_of(self, group: Group) -> pd.DataFrame:
        """The scores of one group."""
        return _rows_of(self.scores, group)

    def good(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those that ended well and are scored."""
        return [trial for trial in trials if self.states[trial.folder].scored]


def measure(experiment: Experiment) -> Measured:
    """Read all scores, choose each group's setting on validation, and resample what is compared.

    Raises:
        UserError: a file of query scores is missing, damaged or of other images than the rest.
    """
    scores = read_scores(experiment)
    states = statuses(experiment, scores)
    k = headline_k(scores)
    chosen, chosen_by = {}, {}
    for group, members in grouped(experiment.trials).items():
        chosen[group], chosen_by[group] = _choose(members, _rows_of(scores, group), states, k)
    draws: dict[str, dict[tuple[str, int], Draws]] = {"val": {}, "test": {}}
    for split, (dataset, size) in itertools.product(draws, dict.fromkeys(group[:2] for group in chosen)):
        here = [trial for trial in experiment.trials if (trial.dataset, trial.size) == (dataset, size)]
        here = [trial for trial in here if states[trial.folder].scored]
        draws[split][dataset, size] = resampled(experiment.of(here), split, k)
    return Measured(experiment, scores, read_layers(experiment), states, k, chosen, chosen_by, draws)


def grouped(trials: Iterable[Trial]) -> dict[Group, list[Trial]]:
    """Trials by dataset, size and encoder, in the order given."""
    groups: dict[Group, list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.dataset, trial.size, trial.encoder), []).append(trial)
    return groups


def headline_k(scores: pd.DataFrame) -> int:
    """The k of the headline precision: the knn evaluator's HEADLINE_K, or the least k measured if that one was not.

    What other protocols measured at their own k does not count.
    """
    preferred = registry.declared("evaluators", "knn")["HEADLINE_K"]
    wanted = HEADLINE | HEADLINE_KNN | {"evaluator": "knn", "metric": "precision"}
    measured = scores.loc[_matching(scores, wanted), "k"].dropna().unique()
    return int(preferred if preferred in measured or len(measured) == 0 else min(measured))


def headline(scores: pd.DataFrame, name: str, split: str, k: int) -> pd.DataFrame:
    """The rows of scores.csv that a column of the leaderboard is made of: one per trial that has it.

    Args:
        scores: rows of scores.csv.
        name: the column: a key of `SOURCES`, or "macro_precision".
        split: "train", "val" or "test".
        k: the headline's number of neighbours.
    """
    evaluator, metric = SOURCES["precision" if name == MACRO else name]
    wanted = HEADLINE | (HEADLINE_KNN if evaluator == "knn" else {}) | ({"average": "macro"} if name == MACRO else {})
    wanted |= {"evaluator": evaluator, "metric": metric, "split": split}
    rows = scores[_matching(scores, wanted)]
    at = k_of("precision" if name == MACRO else name, k)
    return rows[rows["k"].isna()] if at is None else rows[rows["k"] == at]


def _state(seeds: Iterable[State]) -> State:
    """How the seeds of one setting ended, in one: unstable if one of them was."""
    seeds = list(seeds)
    unstable = [state for state in seeds if state.status == "unstable"]
    if not unstable:
        return seeds[0]
    of = f"{len(unstable)} of {len(seeds)} seeds, " if len(seeds) > 1 else ""
    return State("unstable", of + unstable[0].reason)


def _matching(rows: pd.DataFrame, wanted: Mapping[str, str]) -> np.ndarray:
    """Which rows have all of these values, bool (rows,)."""
    return np.logical_and.reduce([rows[key] == value for key, value in wanted.items()])


def _rows_of(table: pd.DataFrame, group: Group) -> pd.DataFrame:
    return table[(table[GROUP] == list(group)).all(axis=1)]


def _choose(
    trials: Sequence[Trial], scores: pd.DataFrame, states: Mapping[str, State], k: int
) -> tuple[list[Trial], str]:
    """Of one group, the seeds of the setting best on validation, and what it was chosen by."""
    good = [trial for trial in trials if states[trial.folder].scored]
    candidates = list(by_setting(good or trials).values())
    for name in SOURCES if len(candidates) > 1 else ():
        found = headline(scores, name, "val", k)
        values = [found.loc[found["trial"].isin(_names(seeds)), "value"].mean() for seeds in candidates]
        if np.isfinite(values).any():
            # Of equals, the first in the config wins.
            return candidates[int(np.nanargmax(values))], f"validation {METRICS[name].format(k=k)}"
    return candidates[0], ""


def _names(trials: Iterable[Trial]) -> list[str]:
    return [trial.name for trial in trials]


def leaderboard(measured: Measured) -> pd.DataFrame:
    """One row per group: datasets and sizes in the order of the config, in each the best by precision on test first."""
    groups = grouped(measured.experiment.trials)
    table = pd.DataFrame([_leader(measured, group, members) for group, members in groups.items()])
    datasets_and_sizes = list(dict.fromkeys(group[:2] for group in groups))
    table["order"] = [datasets_and_sizes.index(group[:2]) for group in groups]
    table = table.sort_values(["order", "precision"], ascending=[True, False], kind="stable")
    return table.drop(columns="order")


def _leader(measured: Measured, group: Group, trials: Sequence[Trial]) -> dict[str, Any]:
    """The row of one group, given all its trials."""
    k, chosen = measured.k, measured.chosen[group]
    good, shown = measured.good(trials), chosen[0]
    scores = measured.scores_of(group)
    own = scores[scores["trial"].isin(_names(chosen))]
    state = _state(measured.states[trial.folder] for trial in chosen)
    row: dict[str, Any] = {
        **columns_of(shown, [*GROUP, "trial"]),
        "setting": describe(shown),
        "seed": shown.seed,
        "n_seeds": len(chosen) if good else 0,
        "seeds": sum(setting(trial) == setting(shown) for trial in trials),
        "settings": len(by_setting(trials)),
        "trials": len(trials),
        "trials_ok": len(good),
        "status": state.status,
        "reason": state.reason,
        "k": k,
    }
    for split, prefix in (("val", "val_"), ("test", "")):
        for name in (*SOURCES, *([MACRO] if split == "test" else [])):
            one = score(measured.draws[split][group[:2]], chosen, name)
            row |= limits(f"{prefix}{name}", one)
            if split == "test":
                found = headline(own, name, "test", k)
                chance = found["chance"].iloc[0] if len(found) else math.nan
                row |= {f"{name}_chance": chance, f"{name}_lift": float(metrics.lift(one["value"], chance))}
    majority = pd.concat([headline(own, name, "test", k) for name in ("svm_accuracy", "knn_accuracy")])["majority"]
    majority = majority.dropna()
    queries = headline(own, "precision", "test", k)["n"].dropna()
    row["majority"] = majority.iloc[0] if len(majority) else math.nan
    row["queries"] = int(queries.iloc[0]) if len(queries) else 0
    row |= _cost(measured.experiment, chosen)
    layers = _rows_of(measured.layers, group)
    dimensions = layers.loc[layers["trial"] == shown.name, "dimensions"].sum()
    return row | {"chosen_by": measured.chosen_by[group], "dimensions": int(dimensions)}


def _seconds(experiment: Experiment, trial: Trial, told: Mapping[str, Any]) -> float:
    """Of training or fitting. Snakemake measures the attempt that ended; a training says what all its starts took."""
    if not trial.stage:
        return 0.0
    return summary_of_known(max, (benchmark(experiment, trial.stage, trial)["s"], told.get("seconds")))


def _cost(experiment: Experiment, seeds: Sequence[Trial]) -> dict[str, float]:
    """Seconds of training, over all its starts, or fitting, speed of embedding, both means, and peaks of memory in MB.

    And the mean error of reconstructions that training ended with. NaN where nothing was measured; an encoder that
    needs neither training nor fitting costs 0 seconds.
    """
    embedded = [read_cost(experiment, trial) for trial in seeds]
    jobs = [(stage, trial) for trial in seeds for stage in (trial.stage, "embed") if stage]
    told = [read_status(experiment, trial) for trial in seeds]
    seconds = [_seconds(experiment, trial, one) for trial, one in zip(seeds, told, strict=True)]
    memory = [*(benchmark(experiment, *job)["max_rss"] for job in jobs), *(one.get("memory_mb") for one in told)]
    return {
        "cost_seconds": float(np.mean(seconds)),
        "embed_images_per_second": summary_of_known(np.mean, (one.get("images_per_second") for one in embedded)),
        "peak_memory_mb": summary_of_known(max, memory),
        "reconstruction_error": summary_of_known(np.mean, (one.get("reconstruction_error") for one in told)),
        "peak_gpu_memory_mb": summary_of_known(max, (one.get("gpu_memory_mb") for one in (*embedded, *told))),
    }


def limits(name: str, one: Mapping[str, float]) -> dict[str, float]:
    """A value and its limits as columns: name, name_low, name_high."""
    return {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
