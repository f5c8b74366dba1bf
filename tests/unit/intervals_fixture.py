"""Intervals over seeds and of differences from scores of queries, as the tables make them from resampled means."""

import numpy as np

from visrec.scoring import intervals


def over_seeds(scores: np.ndarray, seed: int, labels: np.ndarray | None = None) -> tuple[float, float, float]:
    """Mean over seeds and queries, with the interval of `intervals.across_seeds`; of one seed, over queries alone.

    Args:
        scores: float (S, Q), a row of scores per seed, NaN = none.
        seed: of the draws.
        labels: as for `intervals.resample`.

    Returns:
        value, low and high; NaN without any score.
    """
    return _floats(intervals.summary(intervals.across_seeds(intervals.resample(scores, seed, labels), seed)))


def difference(a: np.ndarray, b: np.ndarray, seed: int, labels: np.ndarray | None = None) -> tuple[float, float, float]:
    """Mean of a minus mean of b over seeds and queries, with its two-level, paired interval (`intervals.contrast`).

    Args:
        a: float (S, Q), a row of scores per seed, NaN = none.
        b: float (T, Q), the same queries in the same order.
        seed: of the draws.
        labels: as for `intervals.resample`.

    Returns:
        value, low and high; exactly 0, 0 and 0 if a equals b; NaN if one of them is without any score.
    """
    draws = intervals.resample(np.concatenate([a, b]), seed, labels)
    return _floats(intervals.summary(intervals.contrast(draws[:, : len(a)], draws[:, len(a) :], seed)))


def _floats(numbers: tuple[np.ndarray, ...]) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)
