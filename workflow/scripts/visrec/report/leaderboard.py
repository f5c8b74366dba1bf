"""The leaderboard as the page shows it: every encoder's chosen trial on every dataset, scores and cost side by side.

`REFERENCES` and the constants (chance, the most common class) are rows that no filter hides.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from visrec.experiment.trials import Trial
from visrec.report.verdict import (
    EQUAL,
    METRICS,
    NOT_MEASURED,
    Score,
    duration,
    missing,
    percent,
    relation,
    score,
    span,
)

REFERENCES = ("random", "pixels")
# What an encoder has learned from, in the order of the page: titles of groups of rows.
NO_LABELS, LABELS, OTHERS = (
    "No labels, no other pictures",
    "Labels of the training images",
    "Other pictures, or not known",
)


def filters(chapters: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """What can be chosen: `datasets` and `sizes` where there are several, `encoders` besides the references."""
    datasets = list(dict.fromkeys(chapter["dataset"] for chapter in chapters))
    sizes = sorted({chapter["size"] for chapter in chapters})
    encoders = dict.fromkeys(row["encoder"] for chapter in chapters for row in chapter["rows"])
    others = [encoder for encoder in encoders if encoder not in REFERENCES]
    return {
        "datasets": datasets if len(datasets) > 1 else [],
        "sizes": sizes if len(sizes) > 1 else [],
        "encoders": others if len(others) > 1 else [],
    }


def groups(trials: Iterable[Trial]) -> dict[str, list[str]]:
    """Encoders by what they have learned from, see docs/adding-an-encoder.md; only groups that have one.

    What comes pretrained has seen other pictures, with labels or without; what the features of `precomputed` were made
    from, nobody can tell, so they stand there, too.
    """
    found: dict[str, dict[str, None]] = {NO_LABELS: {}, LABELS: {}, OTHERS: {}}
    for trial in trials:
        others = "PRETRAINED" in trial.declared or not trial.declared.get("NEW_PICTURES", True)
        group = OTHERS if others else LABELS if trial.declared.get("LABELS") else NO_LABELS
        found[group][trial.encoder] = None
    return {title: list(encoders) for title, encoders in found.items() if encoders}


def mark(one: Score, low: float = 0.0, high: float = 1.0) -> dict[str, float]:
    """Where value and interval stand on an axis from `low` to `high`, in percent of its length."""
    where = {"v": one.value, "l": one.low, "h": one.high}
    return {key: round(100 * min(1, max(0, (value - low) / (high - low))), 3) for key, value in where.items()}


def position(value: float | None) -> float | None:
    """Where a number stands on the axis from 0 to 1, in percent of its length."""
    return None if missing(value) else round(100 * value, 3)


def amount(value: float | None, unit: str) -> str:
    """A whole number with its unit, "1,234 MB"; "not measured" where there is none."""
    if missing(value):
        return NOT_MEASURED
    return f"{value:,.0f}\N{NO-BREAK SPACE}{unit}"


def _parted(value: float | None, unit: str) -> tuple[str, str]:
    """A number and its unit apart, for a column whose heading has the unit."""
    number, space, word = amount(value, unit).partition("\N{NO-BREAK SPACE}")
    return number, space + word


def rows(
    leaders: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    stages: Mapping[str, str | None],
    disclosed: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """The rows of one dataset and size.

    Args:
        leaders: its rows of leaderboard.csv.
        comparisons: its rows of comparisons.csv.
        stages: encoder -> its stage ("fit", "train"), or None.
        disclosed: encoder -> what has to be said of it, see `visrec.report.inputs.disclosures`.
    """
    scored = [row for row in leaders if score(row, "precision").measured]
    best = max(scored, key=lambda row: row["precision"])["encoder"] if len(scored) > 1 else None
    found = []
    for row in leaders:
        cells = []
        for name, label in METRICS.items():
            one = score(row, name)
            cells.append(
                {
                    "label": label.format(k=row["k"]),
                    "value": percent(one.value),
                    "span": span(one.low, one.high),
                    "mark": mark(one) if one.measured else None,
                    "sort": one.value if one.measured else -1,
                    "chance": position(row[f"{name}_chance"]),
                    "majority": position(row["majority"]) if name != "precision" else None,
                }
            )
        encoder = row["encoder"]
        seeds = f"{row['n_seeds']} of {row['seeds']} seeds" if row["seeds"] > 1 else ""
        chosen = f"chosen among {row['settings']} settings" if row["chosen_by"] else ""
        error = row["reconstruction_error"]
        drawn = "" if missing(error) else f"reconstruction error on validation {error:.3f}"
        gpu = row["peak_gpu_memory_mb"]
        found.append(
            {
                **row,
                "cells": cells,
                "notes": [note for note in (row["setting"], seeds, chosen, drawn) if not missing(note) and note],
                "lift": percent(row["precision_lift"]).replace("-", "\N{MINUS SIGN}"),
                "cost": "none" if stages[encoder] is None else duration(row["cost_seconds"]),
                "speed": _parted(row["embed_images_per_second"], "img/s"),
                "memory": _parted(row["peak_memory_mb"], "MB"),
                "gpu": "" if missing(gpu) or not gpu else f"GPU {amount(gpu, 'MB')}",
                "trained": stages[encoder] == "train",
                "disclosed": disclosed.get(encoder, ""),
                "reference": encoder in REFERENCES,
                "tie": encoder != best and relation(comparisons, encoder, best) in EQUAL,
                "best": encoder == best,
            }
        )
    return found


def constants(leaders: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Chance of each metric and the most common class, over all rows: they are there even if an encoder failed."""

    def first(column: str) -> float | None:
        return next((row[column] for row in leaders if not missing(row[column])), None)

    chance = [first(f"{name}_chance") for name in METRICS]
    majority = first("majority")
    labels = [label.format(k=leaders[0]["k"]) for label in METRICS.values()]
    return {
        "labels": labels,
        "chance": [percent(value) for value in chance],
        "chance_position": [position(value) for value in chance],
        "majority": ["", *(percent(majority) for _ in labels[1:])],
        "majority_position": [None, *(position(majority) for _ in labels[1:])],
    }


def magnified(leaders: Sequence[Mapping[str, Any]], chance: float | None) -> dict[str, Any] | None:
    """The headline scores on an axis that just holds them; None where there are no two to look at.

    Args:
        leaders: rows with encoder, precision and its limits.
        chance: of precision; its position on the axis is None where it is not on it.
    """
    scores = {row["encoder"]: one for row in leaders if (one := score(row, "precision")).measured}
    if len(scores) < 2:
        return None
    low = math.floor(min(one.low for one in scores.values()) * 50) / 50
    high = max(math.ceil(max(one.high for one in scores.values()) * 50) / 50, low + 0.02)
    return {
        "low": percent(low, 0),
        "high": percent(high, 0),
        "cut": low > 0,
        "chance": None if missing(chance) or not low <= chance <= high else position((chance - low) / (high - low)),
        "rows": [
            {
                "encoder": encoder,
                "mark": mark(one, low, high),
                "value": percent(one.value),
                "span": span(one.low, one.high),
            }
            for encoder, one in scores.items()
        ],
    }
