"""The report's grid: many scores over the settings of an encoder, for the page to choose from.

The figure beside it shows the headline scores alone. This has what the evaluators measure by this project's protocol,
averaged over queries, as numbers that the page colours.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from visrec.data.models import USABLE
from visrec.experiment.trials import Trial
from visrec.report import score_names
from visrec.report.cells import apart, cells, placed
from visrec.report.headline import HEADLINE, HEADLINE_KNN
from visrec.report.verdict import BETTER, EQUAL, METRICS, WORSE
from visrec.scoring.metrics import ATTRIBUTES_AND_IDENTITY, HEALTH, unbounded

SPLITS = {"val": "validation", "test": "test"}  # settings were chosen on the first
DECIMALS = 4
MEASURED = ["value", "low", "high"]
WORDS = (BETTER, WORSE, *EQUAL)
# The score on validation of which grid.csv says what the paired difference to the chosen says.
PAIRED = HEADLINE | HEADLINE_KNN | {"evaluator": "knn", "metric": "precision"}


def grid(
    settings: pd.DataFrame,
    scores: pd.DataFrame,
    trials: Sequence[Trial],
    letters: Mapping[tuple[str, str], str],
    k: int,
) -> dict[str, Any] | None:
    """What the page shows of the grids of one dataset and size, as plain data; None where no encoder has a grid.

    Args:
        settings: rows of grid.csv.
        scores: rows of scores.csv, missing text as "".
        trials: of the same dataset and size.
        letters: (encoder, trial's name) -> letters of the measures without labels that would choose it.
        k: the headline's number of neighbours.

    Returns:
        splits: name of each split; scores: name of each score that some trial has, and whether it is a share; groups
        of (number, name) of scores; encoders: name; across and down, the axes, "" for none; columns and rows, the words
        of their places; state and marks, row by row, see `cells.cells`; values[split][score], row by row, None where
        there is none; spans[split][score], their intervals as [low, high] or None; beside[split][score], what is said
        of each beside the chosen: the word of grid.csv for the headline on validation, elsewhere by the intervals.
    """
    by_encoder: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.grid:
            by_encoder.setdefault(trial.encoder, []).append(trial)
    if not by_encoder:
        return None
    scores = scores[scores["encoder"].isin(by_encoder)]
    parts = dict(tuple(scores.groupby(["evaluator", "metric"])))
    offered = [(one, _values(parts.get(_score(one), scores.iloc[:0]), one["where"])) for one in _offered(scores, k)]
    offered = [(one, known) for one, known in offered if known["value"].notna().any()]
    groups: dict[str, list[tuple[int, str]]] = {}
    for number, (one, _) in enumerate(offered):
        groups.setdefault(one["group"], []).append((number, one["name"]))
    return {
        "splits": SPLITS,
        "groups": list(groups.items()),
        "scores": [{"name": one["name"], "share": one["share"]} for one, _ in offered],
        "encoders": [
            _encoder(encoder, settings[settings["encoder"] == encoder], members, letters, offered)
            for encoder, members in by_encoder.items()
        ],
    }


def _offered(scores: pd.DataFrame, k: int) -> Iterable[dict[str, Any]]:
    """Every score there may be: name, group, share, and the rows it is in."""

    def one(group: str, evaluator: str, metric: str, at: int | None, name: str = "", **more: str) -> dict[str, Any]:
        where = HEADLINE | (HEADLINE_KNN if evaluator == "knn" else {}) | more
        return {
            "name": name or score_names.named(evaluator, metric, at),
            "group": group,
            "share": metric not in unbounded(),
            "where": {"evaluator": evaluator, "metric": metric, "k": at} | where,
        }

    has_k = score_names.has_k
    for group in score_names.groups():
        for name in score_names.labels(group):
            yield one(group, *name, k if has_k(*name) else None, **score_names.average(*name))
    known = score_names.evaluators()
    own = scores[~scores["evaluator"].isin(known) & ~scores["metric"].isin(score_names.NOT_SHOWN)]
    for evaluator, metric, at in own[["evaluator", "metric", "k"]].drop_duplicates().itertuples(index=False):
        yield one("Other evaluators", evaluator, metric, None if pd.isna(at) else int(at))
    kinds = scores.loc[(scores["evaluator"] == "knn") & (scores["protocol"] == HEADLINE["protocol"])]
    for features, distance in kinds[["features", "distance"]].drop_duplicates().itertuples(index=False):
        if {"features": features, "distance": distance} != HEADLINE_KNN:
            space = score_names.space(features, distance)
            yield one(f"precision@{k} elsewhere", "knn", "precision", k, space, features=features, distance=distance)
    yield from (one(HEALTH, *name, k, label.format(k=k)) for name, label in score_names.labels(HEALTH).items())
    repeated = [group for group in score_names.groups() if group != ATTRIBUTES_AND_IDENTITY]
    at_k = [name for group in repeated for name in score_names.labels(group) if has_k(*name)]
    for other in sorted(set(kinds.loc[kinds["metric"] == "precision", "k"].dropna().astype(int)) - {k}):
        yield from (one(f"At k = {other}", *name, other) for name in at_k)


def _score(offered: Mapping[str, Any]) -> tuple[str, str]:
    """Its evaluator and metric."""
    return offered["where"]["evaluator"], offered["where"]["metric"]


def _values(found: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The values of one score and their limits, by split, encoder and trial."""
    fits = [found[column].isna() if value is None else found[column] == value for column, value in where.items()]
    found = found[np.logical_and.reduce(fits)].set_index(["split", "encoder", "trial"])[MEASURED].astype(float)
    return found[~found.index.duplicated()]


def _encoder(
    encoder: str,
    settings: pd.DataFrame,
    trials: Sequence[Trial],
    letters: Mapping[tuple[str, str], str],
    offered: Sequence[tuple[Mapping[str, Any], pd.DataFrame]],
) -> dict[str, Any]:
    own = {trial: text for (whose, trial), text in letters.items() if whose == encoder}
    columns = [f"val_{name}" for name in METRICS]
    scored = [column for column in columns if column in settings and settings[column].notna().any()]
    table = cells(settings, trials, *scored[:1], letters=own)
    down, across = table["value"].index, table["value"].columns
    found = {split: _places(encoder, split, settings, trials, offered, (down, across)) for split in SPLITS}
    return {
        "name": encoder,
        "across": across.name,
        "down": down.name,
        "columns": [str(place) for place in across],
        "rows": [str(place) for place in down],
        "state": table["state"].replace("ok", "").to_numpy().tolist(),
        "marks": table["marks"].to_numpy().tolist(),
        **{name: {split: each[name] for split, each in found.items()} for name in ("values", "spans", "beside")},
    }


def _places(
    encoder: str,
    split: str,
    settings: pd.DataFrame,
    trials: Sequence[Trial],
    offered: Sequence[tuple[Mapping[str, Any], pd.DataFrame]],
    axes: tuple[pd.Index, pd.Index],
) -> dict[str, list]:
    """`values`, `spans` and `beside` per score, row by row: means over seeds of the setting that stands in the cell."""
    rows = placed(settings[settings["status"].isin(USABLE)], trials)
    keys = pd.MultiIndex.from_product([[split], [encoder], rows["trial"]])
    # Of several settings the chosen one, else the best by precision on validation, whatever is shown of it.
    rank = (
        rows.groupby("setting")
        .agg({"y": "first", "x": "first", "chosen": "any", "val_precision": "mean", "beside_chosen": "first"})
        .sort_values(["chosen", "val_precision"], ascending=False, kind="stable")
    )
    stands = rank.drop_duplicates(["y", "x"])
    standing = pd.MultiIndex.from_frame(stands[["y", "x"]]).get_indexer(pd.MultiIndex.from_product(axes))
    lines = standing.reshape(len(axes[0]), len(axes[1]))  # row of `stands` in each cell, -1 in an empty one
    chosen = np.flatnonzero(stands["chosen"])
    measured = np.concatenate([np.empty((len(rows), 0)), *(known.reindex(keys) for _, known in offered)], axis=1)
    means = pd.DataFrame(measured, rows.index).groupby(rows["setting"]).mean().loc[stands.index].to_numpy()
    found: dict[str, list] = {"values": [], "spans": [], "beside": []}
    for number, (one, _) in enumerate(offered):
        value, low, high = means[:, number * len(MEASURED) :][:, : len(MEASURED)].T
        if split == "val" and one["where"] == PAIRED | {"k": one["where"]["k"]}:
            words = [*stands["beside_chosen"]]
        else:
            centre = (low[chosen[0]], high[chosen[0]]) if len(chosen) else (math.nan, math.nan)
            words = [apart(limits, centre) for limits in zip(low, high, strict=True)]
        told = [row not in chosen and not math.isnan(value[row]) and words[row] in WORDS for row in range(len(stands))]
        found["values"].append([[_number(value[row]) if row >= 0 else None for row in line] for line in lines])
        found["spans"].append([[_span(low[row], high[row]) if row >= 0 else None for row in line] for line in lines])
        found["beside"].append([[words[row] if row >= 0 and told[row] else "" for row in line] for line in lines])
    return found


def _span(low: float, high: float) -> list[float] | None:
    return [_number(low), _number(high)] if math.isfinite(low) and math.isfinite(high) else None


def _number(value: float) -> float | None:
    return round(float(value), DECIMALS) if math.isfinite(value) else None


def open_settings(settings: pd.DataFrame) -> list[str]:
    """One sentence per encoder with a grid: how many trials of other settings do not differ from the chosen one.

    Args:
        settings: rows of grid.csv, of one dataset and size.
    """
    sentences = []
    for encoder, rows in settings.groupby("encoder", sort=False):
        beside = rows.loc[rows["status"].isin(USABLE) & ~rows["chosen"], "beside_chosen"]
        if len(beside) and (rows["chosen"] & rows["status"].isin(USABLE)).any():
            number = int(beside.isin(EQUAL).sum())
            verb = "is" if number == 1 else "are"
            sentences.append(
                f"{encoder}: {number} of {len(beside)} trials of other settings {verb} not measurably different from "
                "the chosen."
            )
    return sentences
