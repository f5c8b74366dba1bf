"""Trials side by side: encoders in pairs and over all datasets, selection without labels, and lists across seeds.

All differences are paired: see `visrec.report.resampled` and `intervals.contrast`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from visrec.data.csv_files import read_table
from visrec.data.images import read_image_info
from visrec.data.query_scores import read_lists
from visrec.errors import UserError
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report.headline import COMPARED, GROUP, k_of
from visrec.report.inputs import columns_of
from visrec.report.resampled import Draws, of_seeds, score
from visrec.report.settings import by_setting, describe, setting
from visrec.report.verdict import IDENTICAL, NOT_MEASURED
from visrec.scoring import health, intervals

COMPARISONS = ["dataset", "size", "metric", "k", "a", "b", "trial_a", "trial_b", "seeds_a", "seeds_b"]
JUDGED = ["difference", "low", "high", "alone_low", "alone_high", "word"]
COMPARISONS += JUDGED
OVERALL = ["encoder", "metric", "datasets", "value", "low", "high"]
OVERALL_PAIRS = ["metric", "datasets", "a", "b", *JUDGED]
SELECTION = [*GROUP, "selector", "better", "settings", "spearman", "trial", "precision", "low", "high"]
SELECTION += ["best_trial", "best_precision", "best_low", "best_high"]
SIGN = {"higher": 1, "lower": -1}
OVERLAP = [*GROUP, "setting", "seeds", "k", "overlap", "chance"]


def differences(
    draws: Draws, pairs: Sequence[tuple[Sequence[Trial], Sequence[Trial]]], name: str
) -> list[dict[str, Any]]:
    """The `difference` of a score within each pair of settings, a minus b, and the `word` for it, all judged together.

    `low` and `high` hold for all pairs at once, `alone_low` and `alone_high` for this pair. The word goes by the
    former: "better", "worse" or "not resolved", said of a, "identical" where no query tells the two apart, or "not
    measured".
    """
    if not pairs:
        return []
    contrasts = [
        intervals.contrast(of_seeds(draws, a, name), of_seeds(draws, b, name), intervals.SEED) for a, b in pairs
    ]
    return judge(np.stack(contrasts, axis=1))


def judge(contrasts: np.ndarray) -> list[dict[str, Any]]:
    """What `differences` says of resampled differences, float64 (1 + intervals.RESAMPLES, m)."""
    contrasts = np.where(np.abs(contrasts) < intervals.ROUNDING, 0.0, contrasts)
    _, *alone = intervals.summary(contrasts)
    numbers = np.stack([*intervals.simultaneous(contrasts), *alone], axis=1)
    return [dict(zip(JUDGED, [*map(float, row), _word(*row[:3])], strict=True)) for row in numbers]


def _word(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return NOT_MEASURED
    return IDENTICAL if not value and low == high else intervals.relation(low, high)


def compare(draws: Draws, chosen: Mapping[str, Sequence[Trial]], k: int) -> list[dict[str, Any]]:
    """Every pair of encoders of one dataset and size, at every score that one of them has.

    Args:
        draws: of test.
        chosen: encoder -> the seeds of its chosen setting, in the order of the leaderboard.
        k: the headline's number of neighbours.

    Returns:
        Rows with the columns `COMPARISONS`; a stands before b in the leaderboard.
    """
    rows = []
    for name in COMPARED:
        seeds = {encoder: of_seeds(draws, members, name).shape[1] for encoder, members in chosen.items()}
        if not any(seeds.values()):
            continue
        pairs = list(itertools.combinations(chosen, 2))
        found = differences(draws, [(chosen[a], chosen[b]) for a, b in pairs], name)
        for (a, b), judged in zip(pairs, found, strict=True):
            about = columns_of(chosen[a][0], ["dataset", "size"]) | {"metric": name}
            about |= {"k": k_of(name, k), "a": a, "b": b, "seeds_a": seeds[a], "seeds_b": seeds[b]}
            about |= {"trial_a": chosen[a][0].name, "trial_b": chosen[b][0].name}
            rows.append(about | judged)
    return rows


def overall(draws: Mapping[tuple, Draws], chosen: Mapping[tuple, Mapping[str, Sequence[Trial]]]) -> pd.DataFrame:
    """Mean over datasets and sizes of the encoders that have the score on all of them; empty where there is only one.

    Args:
        draws: (dataset, size) -> draws of test.
        chosen: (dataset, size) -> encoder -> the seeds of its chosen setting.

    Returns:
        Columns `OVERALL`, best first within a metric.
    """
    rows = []
    for name in COMPARED if len(draws) > 1 else ():
        scored = []
        for encoder, means in _means(draws, chosen, name).items():
            value, low, high = map(float, intervals.summary(means))
            scored.append([encoder, name, len(draws), value, max(low, 0.0), min(high, 1.0)])
        rows += sorted(scored, key=lambda row: -row[OVERALL.index("value")])
    return pd.DataFrame(rows, columns=OVERALL)


def overall_pairs(draws: Mapping[tuple, Draws], chosen: Mapping[tuple, Mapping[str, Sequence[Trial]]]) -> pd.DataFrame:
    """Every pair of the encoders of `overall`, which has the arguments; columns `OVERALL_PAIRS`."""
    rows = []
    for name in COMPARED if len(draws) > 1 else ():
        means = _means(draws, chosen, name)
        pairs = list(itertools.combinations(means, 2))
        if pairs:
            judged = judge(np.stack([means[a] - means[b] for a, b in pairs], axis=1))
            about = ({"metric": name, "datasets": len(draws), "a": a, "b": b} for a, b in pairs)
            rows += [pair | one for pair, one in zip(about, judged, strict=True)]
    return pd.DataFrame(rows, columns=OVERALL_PAIRS)


def _means(
    draws: Mapping[tuple, Draws], chosen: Mapping[tuple, Mapping[str, Sequence[Trial]]], name: str
) -> dict[str, np.ndarray]:
    """Encoder -> its resampled mean over datasets and sizes, if it has the score on all of them.

    Datasets are drawn independently: the order of each one's resamples is shuffled, so that what is added up has
    nothing in common. Sizes of one dataset are the same pictures and keep their draws paired. Encoders share the draws
    of queries; of seeds each has draws of its own on each dataset and size.
    """
    datasets = list(dict.fromkeys(dataset for dataset, _ in draws))
    shuffled = {
        dataset: np.append(0, 1 + np.random.default_rng([intervals.SEED, number]).permutation(intervals.RESAMPLES))
        for number, dataset in enumerate(datasets, 1)
    }
    found = {}
    for place, encoder in enumerate(dict.fromkeys(encoder for members in chosen.values() for encoder in members)):
        parts = [
            intervals.across_seeds(
                of_seeds(here, chosen[key].get(encoder, ()), name), intervals.SEED, place * len(draws) + number
            )[shuffled[key[0]]]
            for number, (key, here) in enumerate(draws.items(), 1)
        ]
        means = np.mean(parts, axis=0)
        if not np.isnan(means[0]):
            found[encoder] = means
    return found


def selection(experiment: Experiment, val: Draws, test: Draws) -> list[dict[str, Any]]:
    """What each selector of a trained encoder would have chosen, beside the choice by validation precision.

    A selector is a measure that needs no labels, from the `selectors.csv` of the trials. Its value of a setting is the
    mean over seeds, as is the precision. `spearman` is the rank correlation of the two over the settings, positive if
    the selector prefers what precision prefers; NaN for fewer than three settings or where one of the two is constant.

    Args:
        experiment: with the scored trials of one dataset, size and encoder.
        val: draws of val.
        test: draws of test.

    Returns:
        Rows with the columns `SELECTION`; none for trials without selectors.
    """
    found = []
    for trial in experiment.trials:
        path = experiment.path(trial, layout.SELECTORS)
        if path.exists():
            found.append(_selectors(path, trial))
    if not found:
        return []
    measured = pd.concat(found, ignore_index=True)
    settings = by_setting(experiment.trials)
    precision = {text: score(val, seeds, "precision")["value"] for text, seeds in settings.items()}
    rows = []
    for (selector, better), values in measured.groupby(["selector", "better"], sort=False):
        means = SIGN[better] * values[values["status"] == "ok"].groupby("setting")["value"].mean().dropna()
        used = [text for text in settings if text in means.index and not math.isnan(precision[text])]
        row = dict.fromkeys(SELECTION, math.nan) | columns_of(experiment.trials[0], GROUP)
        row |= {"selector": selector, "better": better, "settings": len(used), "trial": "", "best_trial": ""}
        if used:
            row["spearman"] = rank_correlation(means[used].to_numpy(), np.array([precision[text] for text in used]))
            # Of equals, the first in the config wins.
            for prefix, text in (("", max(used, key=means.get)), ("best_", max(used, key=precision.get))):
                one = score(test, settings[text], "precision")
                row |= {f"{prefix}trial": settings[text][0].name, f"{prefix}precision": one["value"]}
                row |= {f"{prefix}low": one["low"], f"{prefix}high": one["high"]}
        rows.append(row)
    return rows


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; NaN of fewer than three pairs, or if one side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a, b).statistic)


def _selectors(path: Path, trial: Trial) -> pd.DataFrame:
    """A trial's selectors.csv with its setting."""
    table = read_table(path, needed=["selector", "value", "better", "status"]).assign(setting=setting(trial))
    unknown = set(table["better"]) - set(SIGN)
    if unknown:
        raise UserError(f"{path}: 'better' is '{unknown.pop()}', not 'lower' or 'higher'; delete it and run again")
    return table


def overlap(experiment: Experiment) -> list[dict[str, Any]]:
    """How much the seeds of each setting recommend the same pictures: mean Jaccard overlap of their lists.

    Args:
        experiment: with the scored trials of one dataset, size and encoder.

    Returns:
        Rows with the columns `OVERLAP`, the mean over queries and pairs of seeds; none for settings with one seed.

    Raises:
        UserError: the lists of two seeds are not of the same queries, or not equally long.
    """
    rows = []
    for seeds in by_setting(experiment.trials).values():
        lists = {}
        for trial in seeds:
            path = experiment.path(trial, layout.query_scores("knn"))
            found = read_lists(path) if path.exists() else None
            if found is not None:
                lists[path] = found
        if len(lists) < 2:
            continue
        ids, first = next(iter(lists.values()))
        for path, (own, found) in lists.items():
            if found.shape != first.shape or not np.array_equal(own, ids):
                raise UserError(f"{path}: lists other queries than the other seeds; delete it and run again")
        about = seeds[0]
        images = experiment.images(about.dataset, about.size)
        pairs = itertools.combinations([found for _, found in lists.values()], 2)
        rows.append(
            columns_of(about, GROUP)
            | {"setting": describe(about), "seeds": len(lists), "k": first.shape[1]}
            | {"overlap": float(np.mean([health.overlap(a, b).mean() for a, b in pairs]))}
            | {"chance": health.random_overlap(first.shape[1], read_image_info(images).counts["train"])}
        )
    return rows
