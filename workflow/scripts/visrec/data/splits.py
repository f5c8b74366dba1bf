"""Stratified splits, the same on every machine."""

from collections.abc import Mapping, Sequence

import numpy as np

from visrec.errors import UserError


def stratified(
    labels: np.ndarray,
    sizes: Mapping[str, int | float],
    seed: int = 0,
    *,
    classes: Sequence[str] | None = None,
    source: str = "the dataset",
) -> dict[str, np.ndarray]:
    """Draw disjoint splits, each with the class proportions of the whole and at least one image of every class.

    Numbers are rounded by largest remainder. The images of a class are drawn by the raw stream of PCG64, which NumPy
    never changes; apart from the seed, the draw depends on the order of `labels` alone.

    Args:
        labels: int (N,), one class per image. Unlabelled images may share one number.
        sizes: split -> number of images; or fractions of N for all splits, whose sum is at most 1. The remaining images
            belong to no split.
        seed: of the draw.
        classes: names that labels index into; each must have an image. None: the classes that occur.
        source: of the images, for error messages.

    Returns:
        Split -> int64 row numbers, ascending.

    Raises:
        UserError: there are fewer images than the splits need, or a class has too few for one in each split.
    """
    labels = np.asarray(labels)
    wanted = _counts(sizes, len(labels), source)
    values, members, available = np.unique(labels, return_inverse=True, return_counts=True)
    names = [str(value) for value in values] if classes is None else [str(classes[value]) for value in values]
    if classes is not None and len(names) < len(classes):
        absent = sorted(set(range(len(classes))) - set(values.tolist()))
        raise UserError(
            f"{source}: class '{classes[absent[0]]}' has no image ({len(absent)} such); "
            "leave the class out or add images of it"
        )
    asked = {split: count for split, count in wanted.items() if count}
    for name, count in zip(names, available, strict=True):
        if count < len(asked):
            raise UserError(
                f"{source}: class '{name}' has {count} images, too few for one in each of {', '.join(asked)}; "
                "leave the class out or add more images of it"
            )
    for split, count in asked.items():
        if count < len(values):
            raise UserError(
                f"{source}: {split} gets {count} images, too few for one of each of {len(values)} classes; ask for more"
            )
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    by_class = order[np.argsort(members[order], kind="stable")]
    start = np.cumsum(available) - available
    rank = np.empty(len(labels), np.int64)  # of an image among those of its class
    rank[by_class] = np.arange(len(labels)) - np.repeat(start, available)
    rows, taken, later = {}, np.zeros_like(available), len(asked)
    for split, count in wanted.items():
        later -= count > 0
        quota = _quotas(available - taken, count, later) if count else np.zeros_like(taken)
        rows[split] = np.flatnonzero((rank >= taken[members]) & (rank < (taken + quota)[members]))
        taken = taken + quota
    return rows


def _counts(sizes: Mapping[str, int | float], total: int, source: str) -> dict[str, int]:
    """Numbers of images from numbers or fractions."""
    if any(isinstance(size, float) for size in sizes.values()):
        edges = np.cumsum([0.0, *sizes.values()])
        if min(sizes.values()) < 0 or edges[-1] > 1 + 1e-9:
            raise UserError(
                f"{source}: the splits' fractions must be at least 0 and add up to at most 1: {dict(sizes)}"
            )
        return dict(zip(sizes, np.diff(np.rint(edges * total).astype(int)).tolist(), strict=True))
    if sum(sizes.values()) > total:
        asked = " + ".join(f"{count:,} {split}" for split, count in sizes.items())
        raise UserError(f"{source}: has {total:,} images, but the splits need {asked}; ask for fewer")
    return dict(sizes)


def _quotas(left: np.ndarray, count: int, later: int) -> np.ndarray:
    """How many of `count` images to take of each class, in proportion to the images that it has left.

    At least one of each class, and at least `later` images of each are left for later splits.
    """
    share = left * (count / left.sum())
    most = left - later
    quota = np.clip(np.floor(share).astype(np.int64), 1, most)
    while (missing := count - int(quota.sum())) != 0:
        step = 1 if missing > 0 else -1
        able = np.flatnonzero(quota < most if step > 0 else quota > 1)
        deserving = able[np.argsort(-step * (share - quota)[able], kind="stable")]
        quota[deserving[: abs(missing)]] += step
    return quota
