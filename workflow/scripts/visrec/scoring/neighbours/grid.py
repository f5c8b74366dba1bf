"""The exact integer grid: features rounded so that squared distances are integers that float64 holds exactly.

x -> round((x - c) / s), with one step s for all columns, a power of two, and a centre c, the gallery's mean to within
the grid. The step is the finest that is sure to keep every rounded row of queries and gallery within norm 2^24. Then
each coordinate is an integer that float32 holds exactly, |q - g|^2 <= 2^50, and all partial sums of |q|^2, |g|^2 and
2 q.g stay below 2^53: float64 products, added in any order, with or without fused multiply-add, are exact. Multiplied
by s^2 they are squared distances in the units of the features.

What rounding costs. Let L be the greatest distance of a row from c. Then s < 2^-23 L (1 + D 2^-20). A distance is off
by at most sqrt(D) s, and by about 0.4 s (s / sqrt(6), rms) where it is much longer than sqrt(D) s: about float32's own
rounding of a number as large as L. Equal rows stay equal. Where features are multiples of s, such as 8-bit pixels,
counts and flags of moderate size, nothing is rounded. Differences below s are lost: see docs/decisions/0008.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

ENTRIES = {"cpu": 2**19, "cuda": 2**26}  # float64 features at once: 4 MiB fit a CPU's cache, a GPU needs more
NORM = 2.0**24  # of a row on the grid
POINT = 2.0**-512  # step where all rows are equal: they are 0, and any other row is far outside


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover start..stop."""
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))


def squared_norms(rows: torch.Tensor) -> torch.Tensor:
    """Squared norm of each row, (n, D) -> (n,)."""
    return rows.square().sum(dim=1)


@dataclass(frozen=True)
class Grid:
    """x -> round((x - centre) / step): centre float64 (D,), whole multiples of step, a power of two."""

    centre: torch.Tensor
    step: float

    def integers(self, rows: torch.Tensor) -> torch.Tensor:
        """Rounded rows, float64: a difference, a power of two, half to even: the same on every device."""
        return (rows - self.centre).mul_(1 / self.step).round_()

    def blocks(self, rows: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rounded rows, `ENTRIES` values at a time."""
        for part in slices(0, len(rows), max(1, ENTRIES[rows.device.type] // max(1, rows.shape[1]))):
            yield part, self.integers(rows[part])


@dataclass(frozen=True)
class Rounded:
    """Rows on a grid.

    Attributes:
        rows: float32 (N, D), the rounded rows, in which they are exact.
        grid: what they were rounded to.
        squares: float64 (N,), their squared norms, in units of the grid.
    """

    rows: torch.Tensor
    grid: Grid
    squares: torch.Tensor

    @classmethod
    def of(cls, rows: torch.Tensor, grid: Grid, out: torch.Tensor | None = None) -> Self:
        """Round rows, float32 (N, D), a block at a time, into `out`, which may be the rows; None: into a new place."""
        rounded = torch.empty_like(rows) if out is None else out
        squares = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
        for part, block in grid.blocks(rows):
            rounded[part], squares[part] = block, squared_norms(block)
        return cls(rounded, grid, squares)

    def is_of(self, rows: torch.Tensor) -> bool:
        """Whether rows, float32 (n, D), are those that were rounded, or are all rounded to the same."""
        if len(rows) != len(self.rows):
            return False
        return all(torch.equal(block, self.rows[part].double()) for part, block in self.grid.blocks(rows))


def finest_grid(sets: list[torch.Tensor], room: int = 0) -> Grid:
    """The finest grid that is sure to keep all rows of `sets` within 2^(24 - room), whatever their order.

    The centre is the mean of the first set, the gallery. `room` leaves space for rows that come later.

    The mean and the largest norm are taken on a coarser grid about the middle of each column's range. There both are
    exact integers: with norms of at most 2^(22 - room) before, and twice that after the mean is subtracted, so that the
    grid is never coarser than this one.
    """
    gallery = sets[0]
    sets = [rows for rows in sets if len(rows)]
    low = torch.stack([rows.amin(dim=0) for rows in sets]).amin(dim=0).double()
    high = torch.stack([rows.amax(dim=0) for rows in sets]).amax(dim=0).double()
    middle, half = (low + high) / 2, (high - low) / 2
    bound = math.sqrt(math.fsum(half.square().tolist()))  # of the distance to the middle; fsum: whatever the order
    if bound == 0:
        return Grid(middle, POINT)
    coarse = 2.0 ** (math.frexp(bound)[1] - 22 + room)
    grid = Grid((middle / coarse).round() * coarse, coarse)
    total = sum(block.sum(dim=0) for _, block in grid.blocks(gallery))
    mean = np.rint(total.cpu().numpy() / len(gallery))  # on a GPU, torch would multiply by a rounded reciprocal
    grid = Grid(grid.centre + torch.from_numpy(mean).to(gallery.device) * coarse, coarse)
    longest = max(squared_norms(block).max().item() for rows in sets for _, block in grid.blocks(rows))
    rounding = math.sqrt(gallery.shape[1]) / 2  # most that it adds to a norm, here and on the finer grid
    finer = math.frexp((NORM / 2**room - rounding) / (math.sqrt(longest) + rounding))[1] - 1
    return Grid(grid.centre, coarse * 2.0**-finer)
