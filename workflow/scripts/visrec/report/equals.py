"""Encoders without a measurable difference, and the cheapest of them: one definition for verdict and recommender.

Light on purpose (no torch, no pandas): rule recommend asks while Snakemake plans.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visrec.report.verdict import EQUAL, duration, missing, relation

WORK = {"train": "training", "fit": "fitting"}  # of a stage


def equal_to(
    best: str, encoders: Iterable[str], comparisons: Sequence[Mapping[str, Any]], metric: str = "precision"
) -> list[str]:
    """`best` and the encoders that have no measurable difference from it, in the order given.

    Args:
        best: one of the encoders.
        encoders: of one dataset and size.
        comparisons: its rows of comparisons.csv. Two encoders that no row compares are not called equal.
        metric: a column of the leaderboard.
    """
    return [other for other in encoders if other == best or relation(comparisons, best, other, metric) in EQUAL]


def cheapest(encoders: Iterable[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The encoder with the fewest seconds of training or fitting; of equals the fastest to embed, then the first.

    Args:
        encoders: one at least.
        rows: encoder -> its row of leaderboard.csv, with `cost_seconds` and `embed_images_per_second`; NaN or None
            where nothing was measured, which comes last.
    """
    return min(encoders, key=lambda encoder: (_seconds(rows[encoder]), -_speed(rows[encoder])))


def cost(row: Mapping[str, Any], stage: str | None) -> str:
    """What an encoder costs before it embeds: "no training", "3 min 20 s of training", "2.9 s of fitting"."""
    if stage is None:
        return "no training"
    if missing(row["cost_seconds"]):
        return f"{WORK[stage]} not measured"
    return f"{duration(row['cost_seconds'])} of {WORK[stage]}"


def _seconds(row: Mapping[str, Any]) -> float:
    return float("inf") if missing(row["cost_seconds"]) else row["cost_seconds"]


def _speed(row: Mapping[str, Any]) -> float:
    return 0.0 if missing(row["embed_images_per_second"]) else row["embed_images_per_second"]
