"""How near a recommended picture is, and whether a query is like the gallery, beside distances within the gallery.

A distance alone says nothing to a reader, and compares within one trial only. What it is compared with are `own`, the
distances of n gallery pictures, drawn at random, to their nearest other gallery picture.
"""

import math

import numpy as np

LIKE, UNUSUAL, FAR = "looks like the gallery", "unusual for the gallery", "far from all of the gallery"
SAME, UNKNOWN = "same features as a gallery picture", "gallery too small to tell"
MARKS = {LIKE: "●", UNUSUAL: "◐", FAR: "○", SAME: "=", UNKNOWN: "·"}

FEWEST = 20  # own distances below which nothing is said
TOLERANCE = 1e-4  # of the median distance between neighbours, ten times the distance that rounding gives equal features
EXCEPTIONAL = 0.05  # p below which a query is unusual
LIMIT = 2.5  # times the median of own distances, which a query that is far exceeds


def closer_than(own: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The share of own distances that are greater than each distance; NaN where there are fewer than `FEWEST`.

    Args:
        own: float64 (n,), ascending.
        distances: float64 (...,), of recommended pictures to their query.
    """
    if len(own) < FEWEST:
        return np.full(np.shape(distances), np.nan)
    return 1 - np.searchsorted(own, distances, side="right") / len(own)


def in_words(share: float) -> str:
    """A share of `closer_than` for people, "closer than 93 of 100"; "" for NaN."""
    if math.isnan(share):
        return ""
    whole = math.floor(100 * share)
    return f"closer than {whole} of 100" if whole else "farther than 99 of 100"


def same_features(own: np.ndarray, rounded: float = 0.0) -> float:
    """The distance up to which two pictures have the same features but for rounding.

    Args:
        own: float64 (n,), ascending. Those that are 0, of pictures that are in the gallery twice, do not count.
        rounded: how far storing may have moved the features of a picture like the query.
    """
    apart = own[own > 0]
    return max(rounded, TOLERANCE * np.median(apart) if len(apart) else 0.0)


def typicality(own: np.ndarray, distance: float, p: float, same: float) -> str:
    """How a query compares with the gallery.

    Args:
        own: float64 (n,), ascending.
        distance: of the query to its nearest gallery picture.
        p: see `visrec.recommender.index.Index.p_values`; it is at least 1 / (n + 1).
        same: from `same_features`.
    """
    if distance <= same:
        return SAME
    if len(own) < FEWEST:
        return UNKNOWN
    if p >= EXCEPTIONAL:
        return LIKE
    return FAR if distance > LIMIT * np.median(own) else UNUSUAL
