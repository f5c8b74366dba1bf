"""The full search: float64 products give all squared distances of some queries, exactly (see `grid`)."""

import math
from collections.abc import Callable, Sequence

import torch

from visrec.scoring import threads
from visrec.scoring.neighbours.grid import Rounded, slices, squared_norms
from visrec.scoring.neighbours.lists import Neighbours, sorted_lists
from visrec.scoring.neighbours.products import multiply
from visrec.scoring.neighbours.smallest import entries_up_to, group_minima, group_span

MATRIX = 2**25  # float64 distances in memory at once (256 MiB)
FACTOR = 2**22  # float64 features of a block of a product (32 MiB), of at most
ROWS = 1024  # gallery rows

Weights = tuple[float, ...]
Take = Callable[[slice, Sequence[torch.Tensor], torch.Tensor], None]


def at_once(gallery: Rounded, matrices: int = 1) -> int:
    """Number of queries of which so many matrices of distances to the whole gallery are in memory at once."""
    return max(1, MATRIX // (matrices * len(gallery.rows)))


class Products:
    """Products of queries with a whole gallery, sum_b w_b q_b.g_b over blocks b of columns, for each set of weights w.

    They are handed on a part of the gallery at a time, while they are in a cache. Each block is multiplied once,
    exactly, whatever the number of sets; its terms are added in the order of blocks.

    Args:
        gallery: float32 (N, D), rows on a grid.
        blocks: of the columns, B.
        weights: sets of B numbers.
        queries: how many there are at once, at most.
    """

    def __init__(self, gallery: torch.Tensor, blocks: Sequence[slice], weights: Sequence[Weights], queries: int):
        self._gallery, self._blocks, self._weights = gallery, blocks, weights
        self._step = min(ROWS, len(gallery), max(1, FACTOR // max(1, gallery.shape[1])))
        # Used again for each part: memory that is new to a process can cost more than the product that it is for.
        self._lanes = [
            (
                lane,
                gallery.new_empty(self._step, gallery.shape[1], dtype=torch.float64),
                gallery.new_empty(2 + len(weights), queries * self._step, dtype=torch.float64),
            )
            for lane in threads.shares(len(gallery), gallery.device, self._step)
        ]

    def hand(self, points: torch.Tensor, take: Take) -> None:
        """Hand on the products of queries.

        Args:
            points: float64 (q, D), queries on the grid.
            take: is given which part of the gallery, the products float64 (q, n) with it for each set of weights, and
                a matrix of that shape to work in. All of them are used again after it. Called from several threads, for
                different parts. Products are exact where all weights are 0 or one power of two.
        """

        def walk(lane: tuple[slice, torch.Tensor, torch.Tensor]) -> None:
            within, wide, memory = lane
            for part in slices(within.start, within.stop, self._step):
                rows = wide[: part.stop - part.start].copy_(self._gallery[part])
                found, weighted, *sums = (each[: len(points) * len(rows)].view(len(points), -1) for each in memory)
                self._add_up(points, rows, sums, found, weighted)
                take(part, sums, found)

        for _ in threads.each(walk, self._lanes, points.device):
            pass

    def _add_up(
        self,
        points: torch.Tensor,
        rows: torch.Tensor,
        sums: Sequence[torch.Tensor],
        found: torch.Tensor,
        weighted: torch.Tensor,
    ) -> None:
        begun = [False] * len(sums)
        for number, block in enumerate(self._blocks):
            having = [each for each, weights in enumerate(self._weights) if weights[number]]
            if having:
                multiply(points[:, block], rows[:, block], found)
            for each in having:  # rounded after each of both steps, on every device: never fused
                term = torch.mul(found, self._weights[each][number], out=weighted if begun[each] else sums[each])
                if begun[each]:
                    sums[each] += term
                begun[each] = True
        for total, any_at_all in zip(sums, begun, strict=True):
            if not any_at_all:
                total.zero_()


def all_squared(gallery: Rounded, queries: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """Exact squared distances to the whole gallery, float64 (q, N), inf for the pairs `apart`."""
    unit = gallery.grid.step**2
    points = gallery.grid.integers(queries)
    squared, own = points.new_empty(len(queries), len(gallery.rows)), squared_norms(points)[:, None] * unit

    def take(part: slice, products: Sequence[torch.Tensor], _: torch.Tensor) -> None:
        squared[:, part] = products[0].add_(gallery.squares[part] * unit).add_(own)

    Products(gallery.rows, [slice(None)], [(-2 * unit,)], len(queries)).hand(points, take)
    squared[apart[:, 0], apart[:, 1]] = math.inf
    return squared


def k_nearest(squared: torch.Tensor, k: int) -> Neighbours:
    """The k nearest of each query, from all squared distances, float64 (q, N)."""
    span = group_span(squared.shape[1], k)
    minima = group_minima(squared, span)
    kth = minima.topk(k, largest=False).values[:, -1]  # the k-th of some rows: at least the k-th of all
    return sorted_lists(*entries_up_to(squared, minima, span, kth), len(squared), k)
