"""What a score is worth: expected values under random order of ties, and what chance alone would give.

The nearest neighbours of a query are given as two tables of class counts (`Neighbours.count`), int64 (Q, C): `nearer`,
the classes of the gallery images nearer than the k-th distance, and `tied`, those of the images exactly at it. The k
nearest are all of `nearer` and a random draw of `drawn = k - nearer.sum()` from `tied`. A score is its expected value
over that draw, so it does not depend on the order of rows. Chance is the same score with the whole gallery tied.

Class counts are int64 (C,); scores are float64 fractions in [0, 1].
"""

import numpy as np


def expected_precision(nearer: np.ndarray, tied: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Recommendation precision@k of each query: the share of its k nearest that have its class.

        (nearer_y + drawn * tied_y / sum_c tied_c) / k,    y the query's class

    Args:
        nearer: int64 (Q, C).
        tied: int64 (Q, C), at least `drawn` in each row.
        labels: int64 (Q,), classes of the queries.
        k: number of neighbours.

    Returns:
        float64 (Q,).
    """
    own = np.arange(len(labels)), labels
    drawn = k - nearer.sum(axis=1)
    return (nearer[own] + drawn * tied[own] / tied.sum(axis=1)) / k


def expected_accuracy(nearer: np.ndarray, tied: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Plain-vote accuracy of each query: the probability that its class wins the vote of its k nearest.

    Random are the draw from `tied` and, where t classes share most votes, the winner: each of them wins with 1/t.

    Args:
        nearer: int64 (Q, C).
        tied: int64 (Q, C), at least `drawn` in each row.
        labels: int64 (Q,), classes of the queries.
        k: number of neighbours.

    Returns:
        float64 (Q,).
    """
    votes = nearer + tied
    top = votes == votes.max(axis=1, keepdims=True)
    score = top[np.arange(len(labels)), labels] / top.sum(axis=1)
    chancy = votes.sum(axis=1) > k  # elsewhere all of `tied` is drawn and the votes are certain
    if chancy.any():
        cases = np.column_stack([labels, nearer, tied])[chancy]
        cases, case = np.unique(cases, axis=0, return_inverse=True)
        nearer, tied = np.split(cases[:, 1:], 2, axis=1)
        score[chancy] = _win_probability(nearer, tied, cases[:, 0], k)[case.ravel()]
    return score


def _win_probability(nearer: np.ndarray, tied: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The probability of `expected_accuracy` when `drawn` of `tied` are drawn without replacement.

    With w_c(v) = binomial(tied_c, v - nearer_c), the number of draws that give class c exactly v votes, and
    1 / (1 + j) = integral of s^j over [0, 1] for j rivals level with the query's class y,

        P = sum_m w_y(m) [x^(k-m)] integral prod_{c != y} (sum_{v<m} w_c(v) x^v + s w_c(m) x^m) ds
            / binomial(sum_c tied_c, drawn).

    The integrand is a polynomial in s of degree < k, so Gauss-Legendre quadrature is exact; all terms are positive.
    """
    queries = np.arange(len(labels))
    drawn, total = k - nearer.sum(axis=1), tied.sum(axis=1)
    # A factor of drawn/total per draw cancels in the ratio and keeps the binomials inside the floating-point range.
    ways = _binomials(tied, k, (drawn / total)[:, None])
    normaliser = _binomials(total, k, drawn / total)[queries, drawn]
    draws = np.arange(k + 1) - nearer[..., None]
    ways = np.where(draws >= 0, np.take_along_axis(ways, np.maximum(draws, 0), axis=-1), 0.0)  # now by votes
    own = ways[queries, labels]
    ways[queries, labels] = np.eye(1, k + 1)[0]  # a rival with no votes, in one way
    rivals = np.flatnonzero((nearer + tied).any(axis=0))

    nodes, weights = np.polynomial.legendre.leggauss(k // 2 + 1)
    nodes, weights = (nodes + 1) / 2, weights / 2
    won = np.zeros(len(labels))
    for m in range(1, k + 1):
        rest = k - m  # votes of the rivals
        product = np.zeros((len(nodes), len(labels), rest + 1))
        product[..., 0] = 1.0
        for c in rivals:
            factor = np.repeat(ways[None, :, c, : m + 1], len(nodes), axis=0)
            factor[..., m] *= nodes[:, None]
            longer = np.zeros_like(product)
            for v in range(min(m, rest) + 1):
                longer[..., v:] += factor[..., v, None] * product[..., : rest + 1 - v]
            product = longer
        won += own[:, m] * (weights @ product[..., rest])
    return won / normaliser


def _binomials(n: np.ndarray, k: int, scale: np.ndarray) -> np.ndarray:
    """binomial(n, j) * scale^j for j = 0..k along a new last axis."""
    j = np.arange(k)
    ratios = (n[..., None] - j).clip(min=0) / (j + 1) * scale[..., None]
    return np.cumprod(np.concatenate([np.ones((*n.shape, 1)), ratios], axis=-1), axis=-1)


def chance_precision(queries: np.ndarray, gallery: np.ndarray, leave_one_out: bool = False) -> float:
    """Precision@k of a random ranking, the same at every k: sum_c p_query(c) p_gallery(c).

    With `leave_one_out` the query leaves the gallery it is searched in: sum_c (n_c / N) (n_c - 1) / (N - 1).

    Args:
        queries: class counts of the queries.
        gallery: class counts of the gallery.
        leave_one_out: whether each query is one of the gallery's images and is left out.
    """
    relevant = (gallery - leave_one_out) / (gallery.sum() - leave_one_out)
    return float(queries @ relevant / queries.sum())


def chance_accuracy(queries: np.ndarray, gallery: np.ndarray, k: int, leave_one_out: bool = False) -> float:
    """Plain-vote accuracy of a random ranking: sum_c p_query(c) P(c wins the vote of k random gallery images).

    1/C where classes are equally common; more where they are not (k = 1: `chance_precision`; k -> N: the majority).

    Args:
        queries: class counts of the queries.
        gallery: class counts of the gallery.
        k: number of neighbours.
        leave_one_out: whether each query is one of the gallery's images and is left out.
    """
    (present,) = np.nonzero(queries)
    tied = np.tile(gallery, (len(present), 1))
    tied[np.arange(len(present)), present] -= leave_one_out
    wins = expected_accuracy(np.zeros_like(tied), tied, present, k)
    return float(queries[present] @ wins / queries.sum())


def self_counted(precision: np.ndarray | float, k: int) -> np.ndarray | float:
    """Precision@k when the query counts as its own first neighbour: (1 + (k - 1) p) / k.

    Args:
        precision: p, the leave-one-out precision@(k - 1), or its chance; any value where k = 1.
        k: number of neighbours, the query among them.
    """
    return (1 + (k - 1) * precision) / k


def majority(train: np.ndarray, counts: np.ndarray) -> float:
    """Accuracy of the constant answer "the commonest class of train": n_c* / N, the mean over c* where several tie.

    Args:
        train: class counts of the training split.
        counts: class counts of the split that is scored.
    """
    return float(counts[train == train.max()].mean() / counts.sum())


def lift(value: np.ndarray | float, chance: np.ndarray | float) -> np.ndarray:
    """How much of the way from chance to perfect: (value - chance) / (1 - chance); NaN where chance is perfect.

    Args:
        value: float (...,), scores.
        chance: float (...,), of the same scores.

    Returns:
        float64 (...,).
    """
    value, chance = np.broadcast_arrays(np.asarray(value, float), np.asarray(chance, float))
    return np.divide(value - chance, 1 - chance, out=np.full(value.shape, np.nan), where=chance < 1)
