"""The full search: float64 products give all squared distances of some queries, exactly (see `grid`)."""

import math
from collections.abc import Sequence

import torch

from visrec.scoring.neighbours.grid import Rounded, slices, squared_norms
from visrec.scoring.neighbours.lists import Neighbours, sorted_lists
from visrec.scoring.neighbours.products import multiply
from visrec.scoring.neighbours.smallest import entries_up_to, group_minima, group_span

MATRIX = 2**25  # float64 distances in memory at once (256 MiB)
FACTOR = 2**22  # float64 features of a block of a product (32 MiB), of at most
ROWS = 1024  # gallery rows

Weights = tuple[float, ...]


def at_once(gallery: Rounded, matrices: int = 1) -> int:
    """Number of queries of which so many matrices of distances to the whole gallery are in memory at once."""
    return max(1, MATRIX // (matrices * len(gallery.rows)))


def add_up_products(
    gallery: Rounded,
    points: torch.Tensor,
    blocks: Sequence[slice],
    weights: Sequence[Weights],
    out: Sequence[torch.Tensor],
) -> None:
    """Products with the whole gallery, sum_b w_b q_b.g_b over blocks b of columns, for each set of weights w.

    Each block is multiplied once, exactly, whatever the number of sets; its terms are added in the order of blocks.

    Args:
        gallery: N rows on the grid.
        points: float64 (q, D), queries on the grid.
        blocks: of the columns, B.
        weights: sets of B numbers.
        out: float64 (q, N) for each set; exact where all weights are 0 or one power of two.
    """
    step = min(ROWS, len(gallery.rows), max(1, FACTOR // max(1, points.shape[1])))
    # Used again for each part: memory that is new to a process can cost more than the product that it is for.
    buffers, wide = points.new_empty(2, len(points) * step), points.new_empty(step, points.shape[1])
    for part in slices(0, len(gallery.rows), step):
        rows = wide[: part.stop - part.start].copy_(gallery.rows[part])
        found, weighted = (buffer[: len(points) * len(rows)].view(len(points), -1) for buffer in buffers)
        for matrix in out:
            matrix[:, part] = 0
        for number, block in enumerate(blocks):
            multiply(points[:, block], rows[:, block], found)
            for matrix, each in zip(out, weights, strict=True):
                if each[number]:  # rounded after each of both steps, on every device: never fused
                    matrix[:, part] += torch.mul(found, each[number], out=weighted)


def all_squared(gallery: Rounded, queries: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """Exact squared distances to the whole gallery, float64 (q, N), inf for the pairs `apart`."""
    unit = gallery.grid.step**2
    points = gallery.grid.integers(queries)
    squared = points.new_empty(len(queries), len(gallery.rows))
    add_up_products(gallery, points, [slice(None)], [(-2 * unit,)], [squared])
    squared += gallery.squares * unit
    squared += squared_norms(points)[:, None] * unit
    squared[apart[:, 0], apart[:, 1]] = math.inf
    return squared


def k_nearest(squared: torch.Tensor, k: int) -> Neighbours:
    """The k nearest of each query, from all squared distances, float64 (q, N)."""
    span = group_span(squared.shape[1], k)
    minima = group_minima(squared, span)
    kth = minima.topk(k, largest=False).values[:, -1]  # the k-th of some rows: at least the k-th of all
    return sorted_lists(*entries_up_to(squared, minima, span, kth), len(squared), k)
