"""Precision, hit and votes of the k nearest: expected values under random order of ties.

The nearest neighbours of a query come as two tables of class counts (`Neighbours.count`), int64 (Q, C): `nearer`, the
classes of the gallery images nearer than the k-th distance, and `tied`, those of the images exactly at it; for weighted
votes they come as lists (`visrec.scoring.ties`). `drawn` = k - sum_c nearer_c of the tied images are drawn at random.

Scores are float64 fractions in [0, 1].
"""

import math

import numpy as np

from visrec.scoring.ties import inclusion

LEVEL = 2.0**-40  # relative difference below which two sums of the same weights are equal


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

    No more than (k - m) / m rivals can be level at m votes, which is the degree of the integrand in s: Gauss-Legendre
    quadrature is exact. All terms are positive.
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

    won = np.zeros(len(labels))
    for m in range(max(1, math.ceil(k / max(1, len(rivals)))), k + 1):  # fewer votes are never the most
        rest = k - m  # votes of the rivals
        nodes, weights = quadrature(rest // m)
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


def quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1] that integrate polynomials up to a degree exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return (nodes + 1) / 2, weights / 2


def _binomials(n: np.ndarray, k: int, scale: np.ndarray) -> np.ndarray:
    """binomial(n, j) * scale^j for j = 0..k along a new last axis."""
    j = np.arange(k)
    ratios = (n[..., None] - j).clip(min=0) / (j + 1) * scale[..., None]
    return np.cumprod(np.concatenate([np.ones((*n.shape, 1)), ratios], axis=-1), axis=-1)


def expected_hit(nearer: np.ndarray, tied: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Hit@k of each query: the probability that one or more of its k nearest have its class.

    1 if one is nearer than the k-th distance, else 1 - binomial(t - r, drawn) / binomial(t, drawn), where r of the t
    tied have the class. Metric learning calls it recall@k.

    Args:
        nearer: int64 (Q, C).
        tied: int64 (Q, C), at least `drawn` in each row.
        labels: int64 (Q,), classes of the queries.
        k: number of neighbours.

    Returns:
        float64 (Q,).
    """
    own = np.arange(len(labels)), labels
    return np.where(nearer[own] > 0, 1.0, hit_probability(tied[own], tied.sum(axis=1), k - nearer.sum(axis=1)))


def hit_probability(relevant: np.ndarray, total: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """1 - binomial(total - relevant, drawn) / binomial(total, drawn), exact for small results as well."""
    log_missed = np.zeros(len(relevant))
    for i in range(drawn.max(initial=0)):
        left = np.maximum(total - i, 1)
        with np.errstate(divide="ignore"):  # log 0: this draw hits for certain
            log_missed += np.where(i < drawn, np.log1p(-np.minimum(relevant / left, 1)), 0.0)
    return 0.0 - np.expm1(log_missed)  # never -0.0


def weighted_accuracy(
    starts: np.ndarray,
    entry_labels: np.ndarray,
    squared: np.ndarray,
    weights: np.ndarray,
    labels: np.ndarray,
    k: int,
) -> np.ndarray:
    """Accuracy of a weighted vote of the k nearest of each query.

    An entry tied at the k-th distance votes with its expected weight, drawn / t of it. So the score is that of the
    expected vote, not the expected score of the vote, which has no closed form; without such ties they agree. Where t
    classes share most of the weight, up to `LEVEL`, each of them wins with 1/t. If weights are infinite, only those
    count, and equally, as with weights="distance" in scikit-learn.

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        entry_labels: int64 (E,), classes of the entries.
        squared: float64 (E,).
        weights: float64 (E,), positive, inf allowed.
        labels: int64 (Q,), classes of the queries.
        k: at most the k of the search.

    Returns:
        float64 (Q,).
    """
    queries = len(labels)
    share = inclusion(starts, squared, k)
    infinite = np.isinf(weights) & (share > 0)
    only_infinite = np.repeat(np.logical_or.reduceat(infinite, starts[:-1]), np.diff(starts))
    votes = share * np.where(only_infinite, infinite, np.where(share > 0, weights, 0.0))

    query = np.repeat(np.arange(queries), np.diff(starts))
    order = np.lexsort((votes, entry_labels, query))  # by vote: sums do not depend on the order of rows
    query, label = query[order], entry_labels[order]
    (first,) = np.nonzero(np.diff(query, prepend=-1) | np.diff(label, prepend=-1))
    query, label, votes = query[first], label[first], np.add.reduceat(votes[order], first)
    most = np.maximum.reduceat(votes, np.searchsorted(query, np.arange(queries)))
    level = votes >= most[query] * (1 - LEVEL)
    won = np.bincount(query[level & (label == labels[query])], minlength=queries)
    return won / np.bincount(query[level], minlength=queries)
