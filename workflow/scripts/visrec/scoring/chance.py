"""What a score is compared with: chance, the constant answer, and the lift over chance.

Chance is the expected score of a query of each class when the ranking is random, exact for the finite gallery: the same
score with the whole gallery tied. With N rows, R of them relevant, and H(R) = 1 + 1/2 + ... + 1/R:

    precision, r_precision  R / N, at every k
    hit                     1 - binomial(N - R, k) / binomial(N, k)
    accuracy                the probability that the class wins the plain vote of k random rows: 1/C where classes are
                            equally common; k = 1: R / N; k = N: 1 for the majority alone
    map_at_r                (H(R) + (R - H(R)) (R - 1) / (N - 1)) / N
    mrr                     sum over j of binomial(N - j, R - 1) / binomial(N, R) / j

The functions of these names all take

    gallery: int64 (C,), class counts of the gallery;
    k: number of neighbours, at most N; for hit and accuracy;
    leave_one_out: whether each query is one of the gallery's images and is left out: N and R are one less;

and return float64 (C,): NaN where it is not defined, for R = 0 in r_precision, map_at_r and mrr, and with
`leave_one_out` for a class without images, which has no queries.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import digamma

from visrec.scoring.ranking import reciprocal_rank
from visrec.scoring.votes import hit_probability, quadrature


@dataclass(frozen=True)
class _Sizes:
    """Class sizes of a gallery; classes of one size have one chance.

    Attributes:
        sizes: int64 (S,), distinct class sizes.
        classes: int64 (S,), number of classes of each size.
        relevant: int64 (S,), R of a query of a class of each size.
        total: N.
        has_queries: bool (S,), False for an empty class when queries are left out of the gallery.
        which: int64 (C,), the row of each class in `sizes`.
    """

    sizes: np.ndarray
    classes: np.ndarray
    relevant: np.ndarray
    total: int
    has_queries: np.ndarray
    which: np.ndarray

    @classmethod
    def of(cls, gallery: np.ndarray, leave_one_out: bool) -> Self:
        sizes, which, classes = np.unique(gallery, return_inverse=True, return_counts=True)
        relevant, total = np.maximum(sizes - leave_one_out, 0), int(gallery.sum()) - leave_one_out
        return cls(sizes, classes, relevant, total, sizes >= leave_one_out, which)

    def per_class(self, score: np.ndarray, needs_relevant: bool = False) -> np.ndarray:
        """Score (S,) of each size -> (C,) of each class, NaN where it is not defined."""
        defined = self.has_queries & ((self.relevant > 0) | (not needs_relevant))
        return np.where(defined, score, np.nan)[self.which]


def precision(gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Chance of precision at every k."""
    found = _Sizes.of(gallery, leave_one_out)
    with np.errstate(invalid="ignore"):
        return found.per_class(found.relevant / np.float64(found.total))


def r_precision(gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Chance of R-precision."""
    found = _Sizes.of(gallery, leave_one_out)
    with np.errstate(invalid="ignore"):
        return found.per_class(found.relevant / np.float64(found.total), needs_relevant=True)


def hit(gallery: np.ndarray, k: int, leave_one_out: bool = False) -> np.ndarray:
    """Chance of a hit among the k nearest."""
    found = _Sizes.of(gallery, leave_one_out)
    number = len(found.sizes)
    return found.per_class(hit_probability(found.relevant, np.full(number, found.total), np.full(number, k)))


def accuracy(gallery: np.ndarray, k: int, leave_one_out: bool = False) -> np.ndarray:
    """Chance of winning the plain vote of the k nearest."""
    found = _Sizes.of(gallery, leave_one_out)
    with np.errstate(invalid="ignore"):
        score = _accuracy(found.sizes, found.classes, found.relevant, found.total, k)
    return found.per_class(score)


def map_at_r(gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Chance of MAP@R."""
    found = _Sizes.of(gallery, leave_one_out)
    relevant, total = found.relevant, found.total
    harmonic = digamma(relevant + 1) + np.euler_gamma
    with np.errstate(invalid="ignore"):
        score = (harmonic + (relevant - harmonic) * (relevant - 1) / max(total - 1, 1)) / np.float64(total)
    return found.per_class(score, needs_relevant=True)


def mrr(gallery: np.ndarray, k: int | None = None, leave_one_out: bool = False) -> np.ndarray:
    """Chance of the reciprocal rank."""
    found = _Sizes.of(gallery, leave_one_out)
    before, total = np.zeros_like(found.relevant), np.full_like(found.relevant, found.total)
    return found.per_class(reciprocal_rank(before, total, found.relevant), needs_relevant=True)


def _accuracy(sizes: np.ndarray, classes: np.ndarray, own: np.ndarray, total: int, k: int) -> np.ndarray:
    """`votes.expected_accuracy` with the whole gallery tied, in time that allows hundreds of classes and of neighbours.

    Among k random rows the class counts are those of independent Binomial(n_c, k / total), given that they sum to k.
    So w_c in `votes._win_probability` may be these probabilities. The product is evaluated at the L-th roots of unity,
    and its coefficient is their discrete Fourier transform. Coefficients L further on add to it; L is so large that
    they are far below rounding: the sum of the counts has mean and variance of at most k. Rounding errors are absolute.

    Args:
        sizes: int64 (S,), distinct class sizes of the gallery.
        classes: int64 (S,), number of classes of each size.
        own: int64 (S,), size of the query's class as it is searched, by its size in `sizes`.
        total: number of rows searched.
        k: number of neighbours.

    Returns:
        float64 (S,).
    """
    from scipy.stats import binom  # a second, and of the evaluators k-NN alone needs it

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
        for node, weight in zip(*quadrature((k - m) // m), strict=True):
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


def majority(train: np.ndarray, counts: np.ndarray, average: str = "micro") -> float:
    """Accuracy of the constant answer "the commonest class of train", the mean over c* where several tie.

    Micro: n_c* / N. Macro: one over the number of classes that are scored if c* is one of them, else 0.

    Args:
        train: class counts of the training split.
        counts: class counts of the split that is scored.
        average: "micro" or "macro".
    """
    answered = counts[train == train.max()]
    right = answered / counts.sum() if average == "micro" else (answered > 0) / np.count_nonzero(counts)
    return float(right.mean())


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
