"""All distances of several spaces from the same products.

Spaces that weigh the same blocks of columns (the layers of a stack), each by a number, and compare in L2 or by cosine,
share the exact products of the blocks (`visrec.scoring.neighbours.full`). With the weights w_b of a space,

    <x, y> = sum_b w_b^2 x_b.y_b,    |q - g|^2 = <q, q> + <g, g> - 2 <q, g>,    1 - cos = 1 - <q, g> / (|q| |g|).

Rows on the grid are centred. The cosine is that of rows that are not: <q + c, g + c> = <q, g> + <q, c> + <c, g + c>.

Each inner product of a block is an exact integer, and what follows is rounded entry by entry, in one order: distances
are the same on every machine, and those of equal rows are equal. With weights of 1, L2 is exact (see `grid`); other
distances end in a last bit of 0, as `visrec.scoring.ranking` needs it, and those by cosine are whole steps of 2^-36.

One grid serves all spaces, so a space whose blocks are short beside the others is rounded more coarsely than alone.
`Searched.resolves` says which spaces it is too coarse for: they have to be searched alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from visrec.scoring.neighbours.full import Weights, add_up_products, at_once, k_nearest
from visrec.scoring.neighbours.grid import ENTRIES, Rounded, finest_grid, slices
from visrec.scoring.neighbours.tile import Tile, checked_pairs, pairs_in, search_tiles

FINE = 2.0**16  # steps of the grid that a row's length should have: then a distance is off by some parts in 10^6
EXACT = 2.0**26  # steps of the centre's length, at most: then (2^24 + 2^26)^2 < 2^53
COSINE = 2.0**36  # steps of squared distances by cosine in 1: far below the rounding of the grid, and rows of one
# direction, which it moves by less, are alike
L2 = "l2"

Blocks = Sequence[slice]


@dataclass(frozen=True)
class Space:
    """A weight of each block, at least 0, and a distance: "l2" or "cosine"."""

    weights: Weights
    distance: str


@dataclass(frozen=True)
class _Sums:
    """Inner products of rows x on the grid, by block: float64 (n, B) in units of the grid.

    Attributes:
        squares: x.x.
        centred: x.c.
    """

    squares: torch.Tensor
    centred: torch.Tensor

    @classmethod
    def of(cls, parts: Iterable[tuple[slice, torch.Tensor]], rows: int, centre: torch.Tensor, blocks: Blocks) -> Self:
        """Of n rows that come in parts: (which of them, float64 (p, D) on the grid)."""
        made = cls(*centre.new_empty(2, rows, len(blocks)))  # small tensors made one by one would scatter over memory
        for part, points in parts:
            for number, block in enumerate(blocks):
                made.squares[part, number] = points[:, block].square().sum(dim=1)
                made.centred[part, number] = (points[:, block] * centre[block]).sum(dim=1)
        return made


@dataclass(frozen=True)
class Queries:
    """Queries of a search.

    Attributes:
        rows: float32 (Q, D), on the device of the search.
        sums: of them on the grid.
    """

    rows: torch.Tensor
    sums: _Sums


@dataclass(frozen=True)
class Searched:
    """A gallery that is searched in several spaces.

    Attributes:
        gallery: N rows on a grid that holds all queries.
        blocks: of the columns, B.
        sums: of the gallery.
        centre: float64 (D,), of the grid, in its units.
        lengths: float64 (B,), c.c of the centre.
    """

    gallery: Rounded
    blocks: tuple[slice, ...]
    sums: _Sums
    centre: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(
        cls,
        gallery: np.ndarray,
        queries: Sequence[np.ndarray],
        blocks: Blocks,
        *,
        overwrite: bool = False,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Round a gallery for given queries.

        Args:
            gallery: float32 (N, D), finite, N at least 1.
            queries: float32 (Q, D) each, finite: all that will be asked.
            blocks: of the columns.
            overwrite: whether the rounded rows may take the gallery's place.
            device: where products are computed, CPU or CUDA.
        """
        rows, *asked = (torch.from_numpy(each).to(device) for each in (gallery, *queries))
        grid = finest_grid([rows, *asked])
        rounded = Rounded.of(rows, grid, overwrite)
        centre = grid.centre / grid.step
        step = max(1, ENTRIES[rows.device.type] // max(1, rows.shape[1]))
        parts = ((part, rounded.rows[part].double()) for part in slices(0, len(rows), step))
        lengths = torch.stack([centre[block].square().sum() for block in blocks])
        return cls(rounded, tuple(blocks), _Sums.of(parts, len(rows), centre, blocks), centre, lengths)

    def queries(self, rows: np.ndarray) -> Queries:
        """Queries, float32 (Q, D), among those that `of` was told of."""
        there = torch.from_numpy(rows).to(self.gallery.rows.device)
        return Queries(there, _Sums.of(self.gallery.grid.blocks(there), len(there), self.centre, self.blocks))

    def resolves(self, queries: Queries, space: Space) -> bool:
        """Whether the grid is fine enough for a space: see `FINE` and `EXACT`.

        Of L2 the gallery's root mean square length about its mean counts; of cosine, each row's own length.
        """
        weights, least = _squared(space.weights), (FINE * max(space.weights)) ** 2
        if space.distance == L2:  # with one weight for all, no block is short beside the others
            return len(set(weights)) == 1 or weigh(self.sums.squares, weights).mean().item() >= least
        if self.lengths.sum().item() > EXACT**2:
            return False
        lengths = torch.cat([self._lengths(sums, weights) for sums in (self.sums, queries.sums)])
        return bool(((lengths == 0) | (lengths >= least)).all())

    def nearest(self, queries: Queries, k: int, exclude: np.ndarray | None = None) -> Iterator[Tile]:
        """The k nearest in L2 of all columns, as `visrec.scoring.neighbours.tiles`."""
        exclude = checked_pairs(exclude, len(queries.rows), len(self.gallery.rows), k)
        yield from search_tiles(self.gallery, queries.rows, k, exclude, full=False)

    def tiles(
        self, queries: Queries, spaces: Sequence[tuple[Space, int]], exclude: np.ndarray | None = None
    ) -> Iterator[tuple[int, Tile]]:
        """All distances in each space, a tile of queries at a time: (number of the space, tile).

        The distances of a tile are overwritten by those of the next.

        Args:
            queries: from `queries`.
            spaces: with their k, at least 1.
            exclude: int64 (P, 2), pairs of a query and a gallery row that it leaves out; None: no pairs.

        Raises:
            UserError: a query has fewer than k rows to choose from.
            IndexError: `exclude` names a query or a row that there is not.
        """
        number, rows = len(queries.rows), len(self.gallery.rows)
        exclude = checked_pairs(exclude, number, rows, max(k for _, k in spaces))
        weights = list(dict.fromkeys(_squared(space.weights) for space, _ in spaces))
        step = min(max(1, number), at_once(self.gallery, len(weights) + 1))
        buffers = queries.rows.new_empty(len(weights) + 1, step, rows, dtype=torch.float64)
        for tile in slices(0, number, step):
            *products, squared = buffers[:, : tile.stop - tile.start]
            points = self.gallery.grid.integers(queries.rows[tile])
            add_up_products(self.gallery, points, self.blocks, weights, products)
            apart = pairs_in(exclude, tile, points.device)
            for each, (space, k) in enumerate(spaces):
                inner = products[weights.index(_squared(space.weights))]
                self._distances(space, inner, _Sums(queries.sums.squares[tile], queries.sums.centred[tile]), squared)
                squared[apart[:, 0], apart[:, 1]] = math.inf
                yield each, Tile(tile, k_nearest(squared, k), squared)

    def _lengths(self, sums: _Sums, weights: Weights) -> torch.Tensor:
        """Squared lengths of rows that are not centred, float64 (n,), in units of the grid: <x + c, x + c>."""
        return weigh(sums.squares + 2 * sums.centred + self.lengths, weights)

    def _distances(self, space: Space, inner: torch.Tensor, asked: _Sums, out: torch.Tensor) -> None:
        """Squared distances from inner products <q, g>, float64 (q, N), into `out`; by cosine those of unit rows."""
        weights, unit = _squared(space.weights), self.gallery.grid.step**2
        if space.distance == L2:
            torch.mul(inner, -2, out=out)
            out += weigh(self.sums.squares, weights)
            out += weigh(asked.squares, weights)[:, None]
            out *= unit
            if set(weights) - {0.0, 1.0}:
                out.clamp_(min=0).view(torch.int64).bitwise_and_(~1)
            return
        torch.add(inner, weigh(self.sums.centred, weights), out=out)
        out += weigh(asked.centred + self.lengths, weights)[:, None]
        lengths, own = self._lengths(self.sums, weights), self._lengths(asked, weights)
        out *= _inverse_root(lengths)
        out *= _inverse_root(own)[:, None]
        out.mul_(-2 * COSINE).add_(2 * COSINE).clamp_(min=0).round_().div_(COSINE)  # in this order, -0 cannot come out
        nothing = torch.nonzero(own == 0)
        out[nothing, torch.nonzero(lengths == 0).T] = 0  # alike, as `visrec.scoring.transforms.unit` has it


def weigh(values: torch.Tensor, weights: Weights) -> torch.Tensor:
    """sum_b w_b x_b, (n, B) -> (n,): added in the order of blocks, rounded after each step."""
    total = torch.zeros_like(values[:, 0])
    for number, weight in enumerate(weights):
        total += values[:, number] * weight
    return total


def _squared(weights: Weights) -> Weights:
    return tuple(float(weight) ** 2 for weight in weights)


def _inverse_root(lengths: torch.Tensor) -> torch.Tensor:
    """1 / sqrt(x), 0 where x is 0."""
    return torch.where(lengths > 0, 1 / lengths.sqrt(), 0.0)
