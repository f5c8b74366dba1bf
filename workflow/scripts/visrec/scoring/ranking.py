"""Scores of the ranking of a whole gallery: R-precision, MAP@R and reciprocal rank, expected under random ties."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from visrec.scoring import threads

if TYPE_CHECKING:
    import torch

CELLS = 2**19  # pairs of a query and a gallery row in memory at once: 4 MiB of float64 stay in a cache
SAMPLED = 16  # every so many keys say where a ranking can be cut
SURE = 5  # standard deviations of that
INFINITY = 0x7FF << 52  # the bits of inf


def ranked(
    squared: "torch.Tensor", relevant: "torch.Tensor | Callable[[slice], torch.Tensor]"
) -> dict[str, np.ndarray]:
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
        relevant: bool (q, N), on the same device; or which of the queries -> that of these, which is asked for while
            their distances are in a cache. Excluded rows do not count.

    Returns:
        float64 (q,) of each score; NaN where R = 0.

    Raises:
        ValueError: `squared` is negative, NaN or uses its last bit.
    """
    step = max(1, CELLS // max(1, squared.shape[1]))

    def score(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = slice(start, start + step)
        return _ranked(squared[rows], relevant(rows) if callable(relevant) else relevant[rows])

    parts = list(threads.each(score, range(0, len(squared), step), squared.device))
    names = "r_precision", "map_at_r", "mrr"
    return {name: np.concatenate([np.zeros(0), *(part[i] for part in parts)]) for i, name in enumerate(names)}


def _ranked(squared: "torch.Tensor", relevant: "torch.Tensor") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import torch  # seconds: the report needs none of it

    # The bits of floats >= 0, read as integers, have the order of the floats. A last bit of 0 marks a relevant row.
    bits = squared.contiguous().view(torch.int64)
    low, high = bits.aminmax()
    if low < 0 or high > INFINITY or _has_odd(bits):
        raise ValueError("ranked: squared distances must be >= 0 and exact, with fewer than 53 significant bits")
    if high == INFINITY:
        relevant = relevant & (bits < INFINITY)
    total = relevant.count_nonzero(dim=1)
    keys = smallest_sorted(bits, relevant, max(1, int(total.max()) if len(total) else 1))
    is_relevant, found = (1 - (keys & 1)).max(dim=1, keepdim=True)
    first = keys.gather(1, found)
    (hidden,) = torch.nonzero((is_relevant[:, 0] == 0) & (total > 0), as_tuple=True)  # cut off with what is far
    if len(hidden):
        none = torch.iinfo(torch.int64).max
        first[hidden] = torch.where(relevant[hidden], bits[hidden], none).amin(dim=1, keepdim=True)
    first[total == 0] = torch.iinfo(torch.int64).max - 1

    def end(key: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(keys, key, right=True)

    counts = torch.cat([torch.searchsorted(keys, first), end(first | 1), end(first)], dim=1)
    (beyond,) = torch.nonzero((first | 1)[:, 0] >= (keys[:, -1] | 1), as_tuple=True)
    if len(beyond):  # the first relevant row may be tied with one that was cut off: counted among all
        rest, value = bits[beyond] | ~relevant[beyond], first[beyond]
        counts[beyond] = torch.stack([(rest < value).sum(1), (rest <= (value | 1)).sum(1), (rest <= value).sum(1)], 1)
    before, stop, stop_relevant = counts.T
    mrr = reciprocal_rank(*(x.cpu().numpy() for x in (before, stop - before, stop_relevant - before)))

    last = keys.gather(1, (total - 1).clamp(min=0)[:, None])  # the row at rank R; what follows its ties does not matter
    ranks = int(end(last | 1)[total > 0].max()) if total.any() else 1
    keys = keys[:, :ranks]
    hits = torch.nn.functional.pad((1 - (keys & 1)).cumsum(dim=1), (1, 0))
    place = torch.arange(ranks, device=keys.device)
    start, stop = _tie_groups(keys)
    before, ties = hits.gather(1, start), stop - start
    tied = hits.gather(1, stop) - before
    probability = torch.where(place < total[:, None], tied.double() / ties, 0.0)
    also = (place - start) * (tied - 1).double() / (ties - 1).clamp(min=1)  # relevant ones among the j - 1 before
    precision = (before + 1 + also) / (place + 1)
    r_precision, map_at_r = probability.sum(dim=1) / total, (probability * precision).sum(dim=1) / total
    return r_precision.cpu().numpy(), map_at_r.cpu().numpy(), mrr


def _has_odd(bits: "torch.Tensor") -> bool:
    """Whether any number has a last bit of 1."""
    if bits.device.type == "cpu":  # torch has no reduction by "or", and its "and" would be a second matrix
        return bool(np.bitwise_or.reduce(bits.numpy(), axis=None) & 1)
    return bool((bits & 1).any())


def _tie_groups(keys: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Where the tie group of each sorted key starts and stops, int64 (q, n); the last bit of a key does not count."""
    import torch  # seconds: the report needs none of it

    place = torch.arange(keys.shape[1], device=keys.device).expand(keys.shape)
    differs = (keys[:, 1:] | 1) != (keys[:, :-1] | 1)
    if differs.all():
        return place, place + 1
    start = torch.where(torch.nn.functional.pad(differs, (1, 0), value=True), place, 0).cummax(dim=1).values
    stop = torch.where(torch.nn.functional.pad(differs, (0, 1), value=True), place + 1, keys.shape[1])
    return start, stop.flip(1).cummin(dim=1).values.flip(1)


def smallest_sorted(bits: "torch.Tensor", relevant: "torch.Tensor", count: int) -> "torch.Tensor":
    """The `count` smallest keys of each row, sorted, and as many more as it takes to cut no row inside a tie group.

    Most of a ranking of N rows lies beyond rank R: it is cut off unsorted.

    Args:
        bits: int64 (q, N), even. They tie where they are equal.
        relevant: bool (q, N). A key is bits, plus 1 where this is false.
        count: 1..N.

    Returns:
        int64 (q, n), count <= n <= N.
    """
    if bits.device.type == "cpu" and 2 * count <= bits.shape[1]:
        import torch  # seconds: the report needs none of it

        near, number = _near(bits.numpy(), relevant.numpy(), count)
        least = int(number.min()) if len(number) else 0
        if least >= count:
            near.sort(axis=1)
            limit = near[:, count - 1, None] | 1
            count += int((near[:, count:] <= limit).sum(axis=1).max(initial=0))
            if least >= count:
                return torch.from_numpy(np.ascontiguousarray(near[:, :count]))
    return (bits | ~relevant).sort(dim=1).values


def _near(bits: np.ndarray, relevant: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys up to a limit, by which at least `count` of each row are nearly sure to be kept.

    The limit is a quantile of every `SAMPLED`-th, so that one look rules most of them out.

    Returns:
        int64 (q, n), in any order, filled up with the greatest integer; and how many were kept, int64 (q,).
    """
    sample = bits[:, ::SAMPLED]
    expected = count * sample.shape[1] / bits.shape[1]
    place = min(int(expected + SURE * expected**0.5) + 1, sample.shape[1] - 1)
    kept = bits <= np.partition(sample, place, axis=1)[:, place, None]
    number = np.count_nonzero(kept, axis=1)
    near = np.full((len(bits), number.max(initial=0)), np.iinfo(np.int64).max)
    for row, keep, here, has in zip(near, kept, bits, relevant, strict=True):
        found = np.flatnonzero(keep)
        np.bitwise_or(here[found], ~has[found], out=row[: len(found)])
    return near, number


def reciprocal_rank(before: np.ndarray, ties: np.ndarray, relevant: np.ndarray) -> np.ndarray:
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
