"""Confidence intervals of scores over queries, and what they resolve."""

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 2_000  # standard error of each limit: 3 % of the interval's half-width
BATCH = 2**22  # resampled values in memory at once (32 MiB)


def interval(scores: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the mean over queries.

    All rows share each draw of queries, and so do all calls with the same number of queries and seed: comparisons
    are paired.

    Args:
        scores: float (..., Q), the score of each query; leading axes are scores of their own.
        seed: of the draws.

    Returns:
        low and high, float64 (...,).
    """
    if scores.shape[-1] == 1:  # nothing to resample
        return scores[..., 0].astype(float), scores[..., 0].astype(float)
    limits = bootstrap(
        (scores,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, BATCH // scores.size),
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return limits.low, limits.high


def resolved(a_low: float, a_high: float, b_low: float, b_high: float) -> bool:
    """Whether two intervals do not overlap; False if a limit is NaN."""
    return bool(a_high < b_low or b_high < a_low)
