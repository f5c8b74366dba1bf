"""The full search: float64 products give all squared distances of some queries, exactly (see `grid`)."""

import math

import torch

from visrec.scoring.neighbours.grid import Rounded, slices, squared_norms
from visrec.scoring.neighbours.lists import Neighbours, sorted_lists
from visrec.scoring.neighbours.smallest import entries_up_to, group_minima, group_span

MATRIX = 2**25  # exact distances in memory at once (256 MiB)
FACTOR = 2**22  # float64 features of a block of a product (32 MiB)


def at_once(gallery: Rounded) -> int:
    """Number of queries whose distances to the whole gallery are in memory at once."""
    return max(1, MATRIX // len(gallery.rows))


def all_squared(gallery: Rounded, queries: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """Exact squared distances to the whole gallery, float64 (q, N), inf for the pairs `apart`."""
    unit = gallery.grid.step**2
    points = gallery.grid.integers(queries)
    own = squared_norms(points)[:, None] * unit
    points *= unit
    squared = torch.empty(len(queries), len(gallery.rows), dtype=torch.float64, device=queries.device)
    for part in slices(0, len(gallery.rows), max(1, FACTOR // max(1, points.shape[1]))):
        torch.add(own, gallery.squares[part] * unit, out=squared[:, part])
        squared[:, part].addmm_(points, gallery.rows[part].double().T, alpha=-2)
    squared[apart[:, 0], apart[:, 1]] = math.inf
    return squared


def k_nearest(squared: torch.Tensor, k: int) -> Neighbours:
    """The k nearest of each query, from all squared distances, float64 (q, N)."""
    span = group_span(squared.shape[1], k)
    minima = group_minima(squared, span)
    kth = minima.topk(k, largest=False).values[:, -1]  # the k-th of some rows: at least the k-th of all
    return sorted_lists(*entries_up_to(squared, minima, span, kth), len(squared), k)
