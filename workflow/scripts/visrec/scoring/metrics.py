"""What a score is worth: expected values under random order of ties, and what chance alone would give.

The nearest neighbours of a query come in one of three forms:

- two tables of class counts (`Neighbours.count`), int64 (Q, C): `nearer`, the classes of the gallery images nearer than
  the k-th distance, and `tied`, those of the images exactly at it;
- the list itself (`starts`, `rows`, `squared` of `Neighbours`), where entries may carry more than a class;
- all squared distances of some queries, where a score needs every rank.

The k nearest are all that are nearer than the k-th distance and a random draw of `drawn` = k less their number from
the t tied at it. A score is its expected value over that draw, so it does not depend on the order of rows. Chance is
the same score with the whole gallery tied.

Class counts are int64 (C,); scores are float64 fractions in [0, 1], NaN where a query cannot be scored.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma
from scipy.stats import binom

if TYPE_CHECKING:
    import torch

CELLS = 2**22  # pairs of a query and a gallery row in memory at once (32 MiB of float64)
INFINITY = 0x7FF << 52  # the bits of inf
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
        nodes, weights = _quadrature(rest // m)
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


def _quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
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
    return np.where(nearer[own] > 0, 1.0, _hit(tied[own], tied.sum(axis=1), k - nearer.sum(axis=1)))


def _hit(relevant: np.ndarray, total: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """1 - binomial(total - relevant, drawn) / binomial(total, drawn), exact for small results as well."""
    log_missed = np.zeros(len(relevant))
    for i in range(drawn.max(initial=0)):
        left = np.maximum(total - i, 1)
        with np.errstate(divide="ignore"):  # log 0: this draw hits for certain
            log_missed += np.where(i < drawn, np.log1p(-np.minimum(relevant / left, 1)), 0.0)
    return 0.0 - np.expm1(log_missed)  # never -0.0


def inclusion(starts: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
    """The probability that each entry of the lists is among the k nearest of its query.

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        squared: float64 (E,).
        k: at most the k of the search.

    Returns:
        float64 (E,): 1 nearer than the k-th distance, drawn / t at it, 0 beyond it.
    """
    nearer, tied, drawn, ties = _boundary(starts, squared, k)
    return np.where(nearer, 1.0, np.where(tied, np.repeat(drawn / ties, np.diff(starts)), 0.0))


def _boundary(starts: np.ndarray, squared: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Which entries are nearer than the k-th distance and which at it, bool (E,); `drawn` and t, int64 (Q,)."""
    kth = np.repeat(squared[starts[:-1] + k - 1], np.diff(starts))
    nearer, tied = squared < kth, squared == kth
    return nearer, tied, k - _sums(nearer, starts), _sums(tied, starts)


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over the entries of each query; no list is empty. Bools are counted."""
    return np.add.reduceat(values, starts[:-1], axis=0, dtype=np.int64 if values.dtype == bool else np.float64)


def expected_share(starts: np.ndarray, squared: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Mean of a value over the k nearest of each query: (sum over nearer + drawn * mean over tied) / k.

    With values of 0 and 1 it is the share of the k nearest that have a property.

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        squared: float64 (E,).
        values: (E,) or (E, A), A values of each entry, finite.
        k: at most the k of the search.

    Returns:
        float64 (Q,) or (Q, A).
    """
    nearer, tied, drawn, ties = (each.reshape(-1, *[1] * (values.ndim - 1)) for each in _boundary(starts, squared, k))
    nearer, tied = (_sums(np.where(which, values, 0.0), starts) for which in (nearer, tied))
    return (nearer + drawn * tied / ties) / k


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


def ranked(squared: "torch.Tensor", relevant: "torch.Tensor") -> dict[str, np.ndarray]:
    """Scores of a ranking of the whole gallery, with R the number of rows relevant to the query.

        r_precision  precision at rank R
        map_at_r     1/R times the sum, over the relevant rows at ranks <= R, of the precision at their rank
                     (Musgrave, Belongie and Lim 2020)
        mrr          1 / rank of the first relevant row

    In random order of a tie group of t rows, r of them relevant, at ranks s + 1 to s + t with h relevant rows before
    it, the j-th is relevant with probability r / t, and if it is, its precision is in expectation
    (h + 1 + (j - 1) (r - 1) / (t - 1)) / (s + j).

    Args:
        squared: float64 (q, N), squared distances, inf = excluded. As sums of squares of numbers on a grid they are
            integers below 2^52 times a power of two: their last bit is free and takes `relevant` in the sort.
        relevant: bool (q, N), on the same device. Excluded rows do not count.

    Returns:
        float64 (q,) of each score; NaN where R = 0.

    Raises:
        ValueError: `squared` is negative, NaN or uses its last bit.
    """
    step = max(1, CELLS // max(1, squared.shape[1]))
    parts = [
        _ranked(squared[start : start + step], relevant[start : start + step]) for start in range(0, len(squared), step)
    ]
    names = "r_precision", "map_at_r", "mrr"
    return {name: np.concatenate([np.zeros(0), *(part[i] for part in parts)]) for i, name in enumerate(names)}


def _ranked(squared: "torch.Tensor", relevant: "torch.Tensor") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import torch  # seconds: the report needs none of it

    relevant = relevant & (squared < torch.inf)
    # The bits of floats >= 0, read as integers, have the order of the floats. A last bit of 0 marks a relevant row.
    bits = squared.contiguous().view(torch.int64)
    low, high = bits.aminmax()
    if low < 0 or high > INFINITY or (bits & 1).any():
        raise ValueError("ranked: squared distances must be >= 0 and exact, with fewer than 53 significant bits")
    keys = (bits | ~relevant).sort(dim=1).values
    total = relevant.sum(dim=1)

    def end(key: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(keys, key, right=True)

    first = torch.where(relevant, bits, torch.iinfo(torch.int64).max - 1).amin(dim=1, keepdim=True)
    before = torch.searchsorted(keys, first)
    mrr = _reciprocal_rank(*(x[:, 0].cpu().numpy() for x in (before, end(first | 1) - before, end(first) - before)))

    last = keys.gather(1, (total - 1).clamp(min=0)[:, None])  # the row at rank R; what follows its ties does not matter
    ranks = int(end(last | 1)[total > 0].max()) if total.any() else 1
    keys = keys[:, :ranks]
    hits = torch.nn.functional.pad((1 - (keys & 1)).cumsum(dim=1), (1, 0))
    place = torch.arange(ranks, device=keys.device)
    differs = (keys[:, 1:] | 1) != (keys[:, :-1] | 1)
    start = torch.where(torch.nn.functional.pad(differs, (1, 0), value=True), place, 0).cummax(dim=1).values
    stop = torch.where(torch.nn.functional.pad(differs, (0, 1), value=True), place + 1, ranks)
    stop = stop.flip(1).cummin(dim=1).values.flip(1)
    before, ties = hits.gather(1, start), stop - start
    tied = hits.gather(1, stop) - before
    probability = torch.where(place < total[:, None], tied.double() / ties, 0.0)
    also = (place - start) * (tied - 1).double() / (ties - 1).clamp(min=1)  # relevant ones among the j - 1 before
    precision = (before + 1 + also) / (place + 1)
    r_precision, map_at_r = probability.sum(dim=1) / total, (probability * precision).sum(dim=1) / total
    return r_precision.cpu().numpy(), map_at_r.cpu().numpy(), mrr


def _reciprocal_rank(before: np.ndarray, ties: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Expected 1 / rank of the first relevant row, which is in a group of `ties` rows, `relevant` of them relevant.

    It is at place j of the group with probability binomial(t - j, r - 1) / binomial(t, r). NaN where none is relevant.

    Args:
        before: int64 (q,), rows before the group.
        ties: int64 (q,), t.
        relevant: int64 (q,), r.
    """
    score = np.where(relevant > 0, 1 / (before + 1.0), np.nan)
    (uncertain,) = np.nonzero((relevant > 0) & (relevant < ties))
    cases, case = np.unique(np.column_stack([before, ties, relevant])[uncertain], axis=0, return_inverse=True)
    expected = np.zeros(len(cases))
    for i, (s, t, r) in enumerate(cases):
        j = np.arange(1, t - r + 1)
        probability = np.cumprod(np.concatenate([[r / t], (t - r + 1 - j) / (t - j)]))
        expected[i] = (probability / (s + np.arange(1, t - r + 2))).sum()
    score[uncertain] = expected[case.ravel()]
    return score


def ndcg_jaccard(
    starts: np.ndarray,
    rows: np.ndarray,
    squared: np.ndarray,
    query_attributes: np.ndarray,
    gallery_attributes: np.ndarray,
    k: int,
    excluded: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@k of each query with the Jaccard index of attributes as gain, and what a random ranking scores.

        DCG = sum over ranks i <= k of gain_i / log2(i + 1),    gain = |a and b| / |a or b|, 0 if both are empty

    over the DCG of the k best gains of the gallery. Tied rows share their mean gain (McSherry and Najork 2008).

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        rows: int64 (E,).
        squared: float64 (E,).
        query_attributes: (Q, A), 0 or 1.
        gallery_attributes: (N, A), 0 or 1.
        k: at most the k of the search.
        excluded: int64 (P, 2), the pairs (query, gallery row) that the search left out, each once.

    Returns:
        the score and its chance, float64 (Q,); NaN where no gallery row has a gain.
    """
    excluded = np.zeros((0, 2), np.int64) if excluded is None else excluded
    queries = len(starts) - 1
    discounts = 1 / np.log2(np.arange(k) + 2)
    cumulative = np.concatenate([[0.0], np.cumsum(discounts)])
    b = gallery_attributes.astype(np.float32)
    sizes = b.sum(axis=1)
    dcg, ideal, mean = np.zeros(queries), np.zeros(queries), np.zeros(queries)
    step = max(1, CELLS // len(b))
    for start in range(0, queries, step):
        part = slice(start, min(start + step, queries))
        a = query_attributes[part].astype(np.float32)
        shared = a @ b.T  # counts: exact in float32
        gains = shared / np.maximum(a.sum(axis=1)[:, None] + sizes - shared, 1).astype(np.float64)
        gone = excluded[(excluded[:, 0] >= part.start) & (excluded[:, 0] < part.stop)]
        gains[gone[:, 0] - part.start, gone[:, 1]] = 0.0

        entries = slice(starts[part.start], starts[part.stop])
        query = np.repeat(np.arange(part.stop - part.start), np.diff(starts[part.start : part.stop + 1]))
        gain = gains[query, rows[entries]]
        rank = np.arange(len(query)) - (starts[part] - entries.start)[query]
        (first,) = np.nonzero((rank == 0) | (np.diff(squared[entries], prepend=np.nan) != 0))
        ties = np.diff(first, append=len(query))
        reached = cumulative[np.minimum(rank[first] + ties, k)] - cumulative[np.minimum(rank[first], k)]
        dcg[part] = np.bincount(query[first], np.add.reduceat(gain, first) / ties * reached)

        left = gains.shape[1] - np.bincount(gone[:, 0] - part.start, minlength=len(a))
        mean[part] = gains.sum(axis=1) / left
        gains.partition(gains.shape[1] - k, axis=1)
        ideal[part] = np.sort(gains[:, -k:], axis=1)[:, ::-1] @ discounts
    ideal[ideal == 0] = np.nan
    return dcg / ideal, mean * cumulative[-1] / ideal


def chance(metric: str, gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Expected score of a query of each class when the ranking is random, exact for the finite gallery.

    With N rows, R of them relevant, and H(R) = 1 + 1/2 + ... + 1/R:

        precision, r_precision  R / N, at every k
        hit                     1 - binomial(N - R, k) / binomial(N, k)
        accuracy                the probability that the class wins the plain vote of k random rows: 1/C where classes
                                are equally common; k = 1: R / N; k = N: 1 for the majority alone
        map_at_r                (H(R) + (R - H(R)) (R - 1) / (N - 1)) / N
        mrr                     sum over j of binomial(N - j, R - 1) / binomial(N, R) / j

    Args:
        metric: precision, hit, accuracy, r_precision, map_at_r or mrr.
        gallery: int64 (C,), class counts of the gallery.
        k: number of neighbours, at most N; for hit and accuracy.
        leave_one_out: whether each query is one of the gallery's images and is left out: N and R are one less.

    Returns:
        float64 (C,); NaN where it is not defined: R = 0 for r_precision, map_at_r and mrr, and with `leave_one_out` a
        class without images, which has no queries.

    Raises:
        ValueError: there is no such metric.
    """
    # Classes of one size have one chance.
    sizes, which, classes = np.unique(gallery, return_inverse=True, return_counts=True)
    relevant, total = np.maximum(sizes - leave_one_out, 0), int(gallery.sum()) - leave_one_out
    with np.errstate(invalid="ignore"):
        if metric in ("precision", "r_precision"):
            score = relevant / np.float64(total)
        elif metric == "hit":
            score = _hit(relevant, np.full(len(sizes), total), np.full(len(sizes), k))
        elif metric == "accuracy":
            score = _chance_accuracy(sizes, classes, relevant, total, k)
        elif metric == "map_at_r":
            harmonic = digamma(relevant + 1) + np.euler_gamma
            score = (harmonic + (relevant - harmonic) * (relevant - 1) / max(total - 1, 1)) / np.float64(total)
        elif metric == "mrr":
            score = _reciprocal_rank(np.zeros_like(relevant), np.full_like(relevant, total), relevant)
        else:
            raise ValueError(f"chance: no metric {metric!r}")
    defined = (relevant > 0) | (metric in ("precision", "hit", "accuracy"))
    return np.where(defined & (sizes >= leave_one_out), score, np.nan)[which]


def _chance_accuracy(sizes: np.ndarray, classes: np.ndarray, own: np.ndarray, total: int, k: int) -> np.ndarray:
    """`expected_accuracy` with the whole gallery tied, in time that allows hundreds of classes and of neighbours.

    Among k random rows the class counts are those of independent Binomial(n_c, k / total), given that they sum to k.
    So w_c in `_win_probability` may be these probabilities. The product is evaluated at the L-th roots of unity, and
    its coefficient is their discrete Fourier transform. Coefficients L further on add to it; L is so large that they
    are far below rounding, for the sum of the counts has mean and variance of at most k. Rounding errors are absolute.

    Args:
        sizes: int64 (S,), distinct class sizes of the gallery.
        classes: int64 (S,), number of classes of each size.
        own: int64 (S,), size of the query's class as it is searched, by its size in `sizes`.
        total: number of rows searched.
        k: number of neighbours.

    Returns:
        float64 (S,).
    """
    order = 2 * (k // 2 + 5 * math.isqrt(k) + 35) + 1  # L, odd: all roots but 1 come in conjugate pairs
    pairs = np.arange(order // 2 + 1)
    votes = np.arange(k + 1)
    probability = binom.pmf(votes[:, None], sizes, k / total)
    own_probability = binom.pmf(votes[:, None], own, k / total)
    below = np.zeros((len(sizes), len(pairs)), complex)
    won = np.zeros(len(sizes))
    for m in range(1, k + 1):
        below += probability[m - 1][:, None] * np.exp(-2j * np.pi / order * (pairs * (m - 1) % order))
        if m * classes.sum() < k:  # never the most
            continue
        level = probability[m][:, None] * np.exp(-2j * np.pi / order * (pairs * m % order))
        product = np.zeros_like(below)
        for node, weight in zip(*_quadrature((k - m) // m), strict=True):
            factor = below + node * level
            product += weight * factor ** (classes - 1)[:, None] * _product_of_others(factor ** classes[:, None])
        terms = (product * np.exp(2j * np.pi / order * (pairs * (k - m) % order))).real
        won += own_probability[m] * (2 * terms.sum(axis=1) - terms[:, 0]) / order
    return np.clip(won / binom.pmf(k, total, k / total), 0, 1)


def _product_of_others(factors: np.ndarray) -> np.ndarray:
    """The product over the first axis of all rows but each, without division."""
    ones = np.ones_like(factors[:1])
    before = np.cumprod(np.concatenate([ones, factors[:-1]]), axis=0)
    after = np.cumprod(np.concatenate([ones, factors[:0:-1]]), axis=0)[::-1]
    return before * after


def over_classes(per_class: np.ndarray, queries: np.ndarray, average: str) -> float:
    """One number of a score of each class.

    Args:
        per_class: float64 (C,); NaN is left out.
        queries: int64 (C,), class counts of the queries; classes without queries are left out.
        average: micro, weighted by queries, or macro, the plain mean.

    Returns:
        NaN where no class is left.
    """
    kept = (queries > 0) & ~np.isnan(per_class)
    if not kept.any():
        return float("nan")
    return float(np.average(per_class[kept], weights=queries[kept] if average == "micro" else None))


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
