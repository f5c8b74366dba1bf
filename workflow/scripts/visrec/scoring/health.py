"""The health of a recommender: which images it ever shows, how unevenly, and how alike those of one list are.

Lists are the k nearest of each query as `starts`, `rows` and `squared` of `Neighbours`. Rows tied at the k-th distance
are drawn at random, for each query on its own: an entry is in the list with probability `ties.inclusion`.

Beside each measure stands what lists of k random rows would give. It assumes that every query can draw every row. With
leave-one-out each row is drawn by all queries but its own, from one row less: give queries - 1 and gallery - 1.
"""

import math
from itertools import pairwise

import numpy as np

from visrec.scoring.ties import inclusion

VALUES = 2**20  # float64 features in memory at once (8 MiB)
CONSTANT = 1e-9  # relative spread of expected counts that rounding alone can cause


class Recommended:
    """How often each gallery row is recommended, over the tiles of a split's queries.

    Attributes:
        counts: float64 (N,), expected number of lists that a row is in.
    """

    def __init__(self, gallery: int):
        self.counts = np.zeros(gallery)
        self._log_never = np.zeros(gallery)

    @property
    def never(self) -> np.ndarray:
        """float64 (N,), the probability that a row is in no list."""
        return np.exp(self._log_never)

    def add(self, starts: np.ndarray, rows: np.ndarray, squared: np.ndarray, k: int) -> None:
        """Take in the lists of some more queries.

        Args:
            starts: int64 (Q + 1,).
            rows: int64 (E,).
            squared: float64 (E,).
            k: at most the k of the search, the same in each call.
        """
        listed = inclusion(starts, squared, k)
        with np.errstate(divide="ignore"):  # log 0: in this list for certain
            log_missed = np.log1p(-listed)
        self.counts += np.bincount(rows, listed, minlength=len(self.counts))
        self._log_never += np.bincount(rows, log_missed, minlength=len(self.counts))


def coverage(never: np.ndarray) -> float:
    """Expected share of the gallery that is recommended at least once.

    Args:
        never: float64 (N,), probability that a row is in no list.
    """
    return float(np.mean(1 - never))


def random_coverage(queries: int, k: int, gallery: int) -> float:
    """Coverage of random lists: 1 - (1 - k/N)^Q."""
    return 1.0 if k == gallery else -math.expm1(queries * math.log1p(-k / gallery))


def gini(counts: np.ndarray) -> float:
    """Gini coefficient: 0 if all rows are recommended equally often, (N - 1) / N if one row has everything.

        sum_ij |x_i - x_j| / (2 N^2 mean) = sum_i (2i - N - 1) x_(i) / (N sum x),    x_(1) <= x_(2) <= ...

    Args:
        counts: float (N,), at least 0.

    Returns:
        NaN if all counts are 0.
    """
    total = counts.sum()
    if total == 0:
        return math.nan
    n = len(counts)
    return float(((2 * np.arange(1, n + 1) - n - 1) * np.sort(counts)).sum() / (n * total))


def random_gini(queries: int, k: int, gallery: int) -> float:
    """Expected Gini coefficient of random lists, exact: E|x_i - x_j| (N - 1) / (2 Q k).

    A list changes x_i - x_j by +1 and by -1 with probability k (N - k) / (N (N - 1)) each. So the difference is that of
    a random walk whose number of steps is binomial; after 2n - 1 and after 2n steps its mean distance from the start is
    2n binomial(2n, n) / 4^n.

    Returns:
        NaN if there are no counts.
    """
    if queries == 0 or gallery < 2:
        return 0.0 if queries else math.nan
    from scipy.stats import binom  # a second, and few jobs need it

    n = np.arange(1, queries // 2 + 2)
    distance = np.concatenate([[0.0], np.repeat(2 * n * np.cumprod((2 * n - 1) / (2 * n)), 2)])[: queries + 1]
    moved = 2 * k * (gallery - k) / (gallery * (gallery - 1))
    difference = (binom.pmf(np.arange(queries + 1), queries, moved) * distance).sum()
    return float(difference * (gallery - 1) / (2 * queries * k))


def skewness(counts: np.ndarray) -> float:
    """Skewness of the counts, called hubness (Radovanovic, Nanopoulos and Ivanovic 2010): high where few rows get most.

    Args:
        counts: float (N,), at least 0.

    Returns:
        NaN if all counts are equal.
    """
    if np.ptp(counts) <= CONSTANT * np.max(counts):
        return math.nan
    from scipy.stats import skew  # a second, and few jobs need it

    return float(skew(counts))


def random_skewness(queries: int, k: int, gallery: int) -> float:
    """Skewness of the counts of random lists, Binomial(Q, k/N): (1 - 2p) / sqrt(Q p (1 - p)); NaN if k = N."""
    p = k / gallery
    return math.nan if p == 1 or queries == 0 else (1 - 2 * p) / math.sqrt(queries * p * (1 - p))


def diversity(features: np.ndarray, starts: np.ndarray, rows: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
    """Diversity of each query's list: 1 - mean cosine over the pairs of its k images, expected over random ties.

    With unit vectors u, A the rows nearer than the k-th distance and B the t rows at it, `drawn` of which are drawn,
    the expected sum over pairs is

        pairs(A) + drawn/t (sum_A u).(sum_B u) + drawn (drawn - 1) / (t (t - 1)) pairs(B),
        pairs(X) = (|sum_X u|^2 - sum_X |u|^2) / 2.

    Args:
        features: float32 (N, D), of the gallery, finite. The cosine with a zero vector is 0.
        starts: int64 (Q + 1,).
        rows: int64 (E,).
        squared: float64 (E,).
        k: at most the k of the search.

    Returns:
        float64 (Q,), in [0, 2]; NaN for k = 1, which has no pairs.
    """
    score = np.full(len(starts) - 1, np.nan)
    if k == 1:
        return score
    for i, (start, stop) in enumerate(pairwise(starts)):
        distances = squared[start:stop]
        nearer = np.searchsorted(distances, distances[k - 1], side="left")
        reached = np.searchsorted(distances, distances[k - 1], side="right")
        drawn, ties = k - nearer, reached - nearer
        near_sum, near_pairs = _unit_sum(features, rows[start : start + nearer])
        tied_sum, tied_pairs = _unit_sum(features, rows[start + nearer : start + reached])
        both_drawn = drawn * (drawn - 1) / max(1, ties * (ties - 1))
        cosines = near_pairs + drawn / ties * (near_sum @ tied_sum) + both_drawn * tied_pairs
        score[i] = max(0.0, 1 - cosines / (k * (k - 1) / 2))  # never -1e-16
    return score


def _unit_sum(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The sum of some rows' unit vectors, float64 (D,), and the sum of the cosines of all pairs of them."""
    total, nonzero = np.zeros(features.shape[1]), 0
    step = max(1, VALUES // max(1, features.shape[1]))
    for start in range(0, len(rows), step):
        vectors = features[rows[start : start + step]].astype(np.float64)
        norms = np.linalg.norm(vectors, axis=1)
        total += (vectors / np.where(norms > 0, norms, 1)[:, None]).sum(axis=0)
        nonzero += np.count_nonzero(norms)
    return total, (total @ total - nonzero) / 2


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How alike two lists of each query are: the Jaccard index |a and b| / |a or b|.

    Args:
        a: (Q, k) ids, each once in a list.
        b: (Q, k) ids, likewise.

    Returns:
        float64 (Q,).
    """
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    shared = (both[:, 1:] == both[:, :-1]).sum(axis=1)
    return shared / (both.shape[1] - shared)


def random_overlap(k: int, gallery: int) -> float:
    """Expected overlap of two random lists: i / (2k - i) for a hypergeometric number i of common rows."""
    from scipy.stats import hypergeom  # a second, and few jobs need it

    shared = np.arange(k + 1)
    return float((hypergeom.pmf(shared, gallery, k, k) * shared / (2 * k - shared)).sum())
