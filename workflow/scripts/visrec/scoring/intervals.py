"""Bootstrap intervals of mean scores, over queries and over seeds, and what a difference resolves.

Queries are drawn with replacement (Efron, 1979). Whatever has as many queries and the same `seed` shares the draws, so
that comparisons are paired: row i of one array of draws is the same choice of queries as row i of another. Arrays of
draws have 1 + RESAMPLES rows: the first is the sample itself, each other one a resample of it.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
RESAMPLES = 2_000  # standard error of each limit: 3 % of the interval's half-width
SEED = 0  # of the draws that all trials share, whatever seed they were trained with
BLOCK = 2**22  # counts in memory at once (32 MiB as float64)
ROUNDING = 1e-12  # of a mean; one of 1,000 neighbours of one query in a million makes 1e-9


def resample(scores: np.ndarray, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Mean over queries of each row of scores, in the sample and in each bootstrap resample of the queries.

    With w the number of times that each query was drawn and m its mask (0 where the score is NaN), a row's mean is
    sum(w m s) / sum(w m). With labels it is the mean over classes of that mean within the class (macro), over the
    classes that occur among the queries drawn.

    Memory besides the scores: two copies of them and some 130 MiB.

    Args:
        scores: float (rows, Q), the score of each query; NaN = this query has none.
        seed: of the draws.
        labels: int (Q,), the class of each query, for the macro mean; None for the micro mean.

    Returns:
        float64 (1 + RESAMPLES, rows); NaN where no query with a score was drawn.
    """
    rows, queries = scores.shape
    means = np.full((1 + RESAMPLES, rows), np.nan)
    if not queries:
        return means
    order = None if labels is None else np.argsort(labels, kind="stable")  # classes become slices
    edges = [0, queries] if labels is None else [0, *np.flatnonzero(np.diff(labels[order])) + 1, queries]
    scores = np.asarray(scores, np.float64) if order is None else np.asarray(scores, np.float64)[:, order]
    known = (~np.isnan(scores)).astype(np.float64)
    scores = np.where(known, scores, 0.0)
    for block, weights in _weights(queries, seed):
        weights = weights if order is None else weights[:, order]
        total, occurring = np.zeros((2, len(weights), rows))
        for start, stop in pairwise(edges):
            count = weights[:, start:stop] @ known[:, start:stop].T
            total += weights[:, start:stop] @ scores[:, start:stop].T / np.maximum(count, 1)
            occurring += count > 0
        np.divide(total, occurring, out=means[block], where=occurring > 0)
    return means


def _weights(queries: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each query counts, float64 (n, queries), by slices of the rows of `resample`."""
    yield slice(0, 1), np.ones((1, queries))
    random = np.random.default_rng(seed)
    at_once = max(1, BLOCK // queries)
    for start in range(1, 1 + RESAMPLES, at_once):
        n = min(at_once, 1 + RESAMPLES - start)
        drawn = random.integers(queries, size=(n, queries))
        drawn += np.arange(n)[:, None] * queries
        counts = np.bincount(drawn.ravel(), minlength=n * queries)
        yield slice(start, start + n), counts.reshape(n, queries).astype(np.float64)


def across_seeds(draws: np.ndarray, seed: int, stream: int = 1) -> np.ndarray:
    """Mean over seeds (of training) of resampled means, with the seeds resampled too, crossed with the queries.

    All seeds are scored on the same queries, so each resample draws queries once and, of S seeds, S with replacement.
    Alone that is too narrow for few seeds: it takes their deviation with the divisor S, and its limits are those of a
    normal distribution. So in each resample the deviation of the drawn seeds' mean from the mean of all seeds is
    widened by

        sqrt(S / (S - 1)) t / z

    with t and z the 97.5 % quantiles of Student's t with S - 1 degrees of freedom and of the normal distribution. Where
    queries make no noise, the interval is then close to Student's, mean +- t s / sqrt(S) (s with the divisor S - 1),
    from three seeds on; of two it is 0.72 times that, as draws of two seeds take three values only, and holds the true
    mean in 93 % of cases. Where seeds make no noise, it is that of the queries. One seed stays as it is: its luck
    cannot be known.

    Args:
        draws: float64 (1 + RESAMPLES, S), from `resample`. A seed without a mean is left out.
        seed: of the draws.
        stream: number of the choice of seeds, 1 or more; means with different streams choose independently.

    Returns:
        float64 (1 + RESAMPLES,); NaN if no seed is left.
    """
    draws = draws[:, ~np.isnan(draws[0])]
    seeds = draws.shape[1]
    if seeds == 0:
        return np.full(len(draws), np.nan)
    means = draws.mean(axis=1)
    if seeds > 1:
        chosen = np.random.default_rng([seed, stream]).integers(seeds, size=(len(draws) - 1, seeds))
        deviation = np.take_along_axis(draws[1:], chosen, axis=1).mean(axis=1) - means[1:]
        students, normal = stdtrit(seeds - 1, TAILS[1]), ndtri(TAILS[1])  # quantiles
        means[1:] += np.sqrt(seeds / (seeds - 1)) * students / normal * deviation
    return means


def contrast(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """Resampled difference of two means over seeds: the queries are paired, the seeds of a and b chosen independently.

    Args:
        a: float64 (1 + RESAMPLES, S), from `resample`.
        b: float64 (1 + RESAMPLES, T), from `resample` with the same queries and seed. If it equals `a`, the two are
            the same runs and their seeds are chosen alike: the difference is 0 throughout.
        seed: of the draws.

    Returns:
        float64 (1 + RESAMPLES,), exactly 0 where it is no more than rounding.
    """
    same = a.shape == b.shape and np.allclose(a, b, rtol=0, atol=ROUNDING, equal_nan=True)
    difference = across_seeds(a, seed, 1) - across_seeds(b, seed, 1 if same else 2)
    difference[np.abs(difference) < ROUNDING] = 0
    return difference


def summary(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, and lower and upper limit of its 95 % percentile interval.

    Args:
        draws: float64 (1 + RESAMPLES, ...).

    Returns:
        Three arrays float64 (...,); NaN where there are no draws but NaN. Single draws that are NaN are left out.
    """
    flat = draws[1:].reshape(len(draws) - 1, -1)
    limits = np.full((2, flat.shape[1]), np.nan)
    known = ~np.isnan(flat).all(axis=0)
    limits[:, known] = np.nanquantile(flat[:, known], TAILS, axis=0)
    low, high = limits.reshape(2, *draws.shape[1:])
    return draws[0], low, high


def simultaneous(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with limits that hold for all of them at once in 95 % of cases, however many they are.

    With d_j the value, s_j the standard deviation of its draws d*_j, and c the 95 % quantile over resamples of

        max_j |d*_j - d_j| / s_j,

    the limits are d_j -+ c s_j (single-step max-t: Westfall and Young, Resampling-Based Multiple Testing, 1993). Values
    that share their draws are dependent, and c counts that; Bonferroni's and Holm's bounds do not. No interval is
    narrower than that of `summary`, so what is said by these limits is also said by the value's own.

    Args:
        draws: float64 (1 + RESAMPLES, m), m values of the same resamples.

    Returns:
        Three arrays float64 (m,), as from `summary`.
    """
    value, low, high = summary(draws)
    known = ~np.isnan(draws[1:]).all(axis=0)
    spread = np.zeros(draws.shape[1])
    spread[known] = np.nanstd(draws[1:, known], axis=0)
    moving = spread > ROUNDING  # what no resample moves has no part in the maximum
    if moving.any():
        furthest = np.nan_to_num(np.abs(draws[1:, moving] - value[moving]) / spread[moving]).max(axis=1)
        half = np.where(moving, np.quantile(furthest, CONFIDENCE) * spread, 0.0)
        low, high = np.minimum(low, value - half), np.maximum(high, value + half)
    return value, low, high


def interval(scores: np.ndarray, seed: int, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile bootstrap interval of the mean over queries (micro), or with labels of the macro mean.

    Args:
        scores: float (rows, Q), as for `resample`.
        seed: of the draws.
        labels: int (Q,) or None, as for `resample`.

    Returns:
        low and high, float64 (rows,): the value itself for one query, NaN for a row without scores.
    """
    _, low, high = summary(resample(scores, seed, labels))
    return low, high


def over_groups(scores: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean over groups (such as attributes) of their means over queries, with its interval over queries.

    Args:
        scores: float (G, Q), the score of each query in each group; NaN = none. Groups without a score do not count,
            in a resample as in the sample.
        seed: of the draws.

    Returns:
        value, low and high; NaN without any score.
    """
    draws = resample(scores, seed)
    known = ~np.isnan(draws)
    mean = np.full(len(draws), np.nan)
    np.divide(np.where(known, draws, 0).sum(axis=1), known.sum(axis=1), out=mean, where=known.any(axis=1))
    return _floats(summary(mean))


def relation(low: float, high: float) -> str:
    """What the interval of a difference a - b says of a: "better", "worse", or "not resolved" (0 inside, or NaN)."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not resolved"


def _floats(numbers: tuple[np.ndarray, ...]) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)
