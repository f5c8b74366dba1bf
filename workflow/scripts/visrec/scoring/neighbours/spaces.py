"""All distances of several spaces from the same products.

Spaces that weigh the same blocks of columns (the layers of a stack), each by a number, and compare in L2 or by cosine,
share the exact products of the blocks (`visrec.scoring.neighbours.full`). With the weights w_b of a space,

    <x, y> = sum_b w_b^2 x_b.y_b,    |q - g|^2 = <q, q> + <g, g> - 2 <q, g>,    1 - cos = 1 - <q, g> / (|q| |g|).

Rows on the grid are centred. The cosine is that of rows that are not: <q + c, g + c> = <q, g> + <q, c> + <c, g + c>.

Each inner product of a block is an exact integer, and what follows is rounded entry by entry, in one order: distances
are the same on every machine, and those of equal rows are equal. With weights of 1, L2 is exact (see `grid`); other
distances end in a last bit of 0, as `visrec.scoring.ranking` needs it, and those by cosine are whole steps of 2^-36.

One grid serves all spaces, so a space whose blocks are short beside the others is rounded more coarsely than alone.
Short and narrow blocks are therefore there a second time, each on a grid of its own, for the spaces that need them so.
`Searched.resolves` says which spaces all this is still too coarse for: they have to be searched alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch

from visrec.scoring.neighbours.full import Products, Weights, at_once, k_nearest
from visrec.scoring.neighbours.grid import ENTRIES, POINT, Grid, Rounded, finest_grid, slices
from visrec.scoring.neighbours.tile import Tile, checked_pairs, pairs_in, search_tiles

FINE = 2.0**16  # steps of the grid that a row's length should have: then a distance is off by some parts in 10^6
EXACT = 2.0**26  # steps of the centre's length, at most: then (2^24 + 2^26)^2 < 2^53
FINER = 2.0**4  # times that a block's own grid is finer than that of all, for it to be there a second time,
NARROW = 1 / 8  # if all such blocks together have no more than this share of the columns
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

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.squares[rows], self.centred[rows])


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
        rows: float32 (N, D + ...), these, and behind them the blocks that are there a second time.
        blocks: of the columns, B; then those of the second time.
        own: number of a block -> number of the second time, and its grid.
        sums: of `rows`, by `blocks`.
        centre: float64 (D + ...,), of the grids, in their units.
        lengths: float64 (B + ...,), c.c of the centre.
    """

    gallery: Rounded
    rows: torch.Tensor
    blocks: tuple[slice, ...]
    own: Mapping[int, tuple[int, Grid]]
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
        given, *asked = (torch.from_numpy(each).to(device) for each in (gallery, *queries))
        grid, width = finest_grid([given, *asked]), given.shape[1]
        grids = _finer([given, *asked], blocks, grid)
        twice, stop = list(blocks), width
        for number in grids:
            twice.append(slice(stop, stop := stop + _width(blocks[number])))
        rows = given if overwrite and not grids else given.new_empty(len(given), stop)
        rounded = Rounded.of(given, grid, rows[:, :width])
        for (number, each), there in zip(grids.items(), twice[len(blocks) :], strict=True):
            Rounded.of(given[:, blocks[number]], each, rows[:, there])
        centre = torch.cat([each.centre / each.step for each in (grid, *grids.values())])
        step = max(1, ENTRIES[rows.device.type] // max(1, stop))
        parts = ((part, rows[part].double()) for part in slices(0, len(rows), step))
        own = {number: (len(blocks) + place, each) for place, (number, each) in enumerate(grids.items())}
        lengths = torch.stack([centre[block].square().sum() for block in twice])
        return cls(rounded, rows, tuple(twice), own, _Sums.of(parts, len(rows), centre, twice), centre, lengths)

    def queries(self, rows: np.ndarray) -> Queries:
        """Queries, float32 (Q, D), among those that `of` was told of."""
        there = torch.from_numpy(rows).to(self.rows.device)
        step = max(1, ENTRIES[there.device.type] // max(1, self.rows.shape[1]))
        parts = ((part, self._integers(there[part])) for part in slices(0, len(there), step))
        return Queries(there, _Sums.of(parts, len(there), self.centre, self.blocks))

    def resolves(self, queries: Queries, space: Space) -> bool:
        """Whether the grids are fine enough for a space: see `FINE` and `EXACT`."""
        return self._weights(queries, space) is not None

    def _weights(self, queries: Queries, space: Space) -> Weights | None:
        """Squared weights of all blocks: on the grid of all if that resolves the space, else on own grids."""
        together = *(float(weight) ** 2 for weight in space.weights), *(0.0 for _ in self.own)
        if space.distance == L2 and len(set(space.weights)) == 1:  # no block is short beside the others
            return together
        alone = list(together)
        for number, (second, grid) in self.own.items():
            alone[number], alone[second] = 0.0, together[number] * (grid.step / self.gallery.grid.step) ** 2
        for weights in (together, tuple(alone)):
            if self._resolves(queries, space.distance, weights):
                return weights
        return None

    def _resolves(self, queries: Queries, distance: str, weights: Weights) -> bool:
        """Of L2 the gallery's root mean square length about its mean counts; of cosine, each row's own length."""
        least = FINE**2 * max(weights)
        if distance == L2:
            return weigh(self.sums.squares, weights).mean().item() >= least
        counts = self.lengths.new_tensor([weight > 0 for weight in weights])
        if (self.lengths * counts).sum().item() > EXACT**2:
            return False
        lengths = torch.cat([self._lengths(sums, weights) for sums in (self.sums, queries.sums)])
        return bool(((lengths == 0) | (lengths >= least)).all())

    def _integers(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of queries as `rows` has those of the gallery, float64."""
        first = self.gallery.grid.integers(rows)
        second = [grid.integers(rows[:, self.blocks[number]]) for number, (_, grid) in self.own.items()]
        return torch.cat([first, *second], dim=1) if second else first

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
        weights = [self._weights(queries, space) for space, _ in spaces]
        sets = list(dict.fromkeys(weights))
        places = [sets.index(each) for each in weights]
        measures = [self._measure(space.distance, each) for (space, _), each in zip(spaces, weights, strict=True)]
        step = min(max(1, number), at_once(self.gallery, len(spaces)))
        products = Products(self.rows, self.blocks, sets, step)
        matrices = queries.rows.new_empty(len(spaces), step, rows, dtype=torch.float64)
        for tile in slices(0, number, step):
            squared = matrices[:, : tile.stop - tile.start]
            asked = [measure.asked(queries.sums[tile]) for measure in measures]
            takes = [
                partial(measure.squared, asked=each, into=matrix)
                for measure, each, matrix in zip(measures, asked, squared, strict=True)
            ]
            products.hand(self._integers(queries.rows[tile]), partial(_spread, takes, places))
            apart = pairs_in(exclude, tile, matrices.device)
            for each, (_, k) in enumerate(spaces):
                squared[each][apart[:, 0], apart[:, 1]] = math.inf
                yield each, Tile(tile, k_nearest(squared[each], k), squared[each])

    def _lengths(self, sums: _Sums, weights: Weights) -> torch.Tensor:
        """Squared lengths of rows that are not centred, float64 (n,), in units of the grid: <x + c, x + c>."""
        return weigh(sums.squares + 2 * sums.centred + self.lengths, weights)

    def _measure(self, distance: str, weights: Weights) -> "_L2 | _Cosine":
        return (_L2 if distance == L2 else _Cosine)(self, weights)


class _L2:
    """Squared distances in L2 from inner products.

    Powers of two, as the grid's unit is one, are multiplied in where it costs least: nothing is rounded by them.
    """

    def __init__(self, searched: Searched, weights: Weights):
        self._weights, self._unit = weights, searched.gallery.grid.step**2
        self._rows = self.asked(searched.sums)
        self._exact = set(weights) <= {0.0, 1.0}

    def asked(self, sums: _Sums) -> torch.Tensor:
        """What queries bring to it, for `squared`."""
        return weigh(sums.squares, self._weights) * self._unit

    def squared(
        self, part: slice, inner: torch.Tensor, out: torch.Tensor, asked: torch.Tensor, into: torch.Tensor
    ) -> None:
        """Squared distances to a part of the gallery, from inner products <q, g>, float64 (q, n).

        Args:
            part: of the gallery.
            inner: the products.
            out: to work in, of their shape.
            asked: of `asked`.
            into: float64 (q, N), gets the distances in the columns of the part.
        """
        torch.mul(inner, -2 * self._unit, out=out).add_(self._rows[part]).add_(asked[:, None])
        if not self._exact:
            out.clamp_(min=0).view(torch.int64).bitwise_and_(~1)
        into[:, part] = out


class _Cosine:
    """The same of rows brought to length 1."""

    def __init__(self, searched: Searched, weights: Weights):
        self._searched, self._weights = searched, weights
        self._centred = weigh(searched.sums.centred, weights)
        self._inverse = _inverse_root(searched._lengths(searched.sums, weights))

    def asked(self, sums: _Sums) -> tuple[torch.Tensor, torch.Tensor]:
        """What queries bring to it, for `squared`: what is added, and a factor, 0 where the row is."""
        added = weigh(sums.centred + self._searched.lengths, self._weights)
        return added, _inverse_root(self._searched._lengths(sums, self._weights)) * (-2 * COSINE)

    def squared(
        self,
        part: slice,
        inner: torch.Tensor,
        out: torch.Tensor,
        asked: tuple[torch.Tensor, torch.Tensor],
        into: torch.Tensor,
    ) -> None:
        """As of `_L2`."""
        added, factor = asked
        torch.add(inner, self._centred[part], out=out).add_(added[:, None])
        out.mul_(self._inverse[part]).mul_(factor[:, None])
        out.add_(2 * COSINE).clamp_(min=0).round_().mul_(1 / COSINE)  # in this order, -0 cannot come out
        nothing = torch.nonzero(factor == 0)
        out[nothing, torch.nonzero(self._inverse[part] == 0).T] = 0  # alike, see `visrec.scoring.transforms.unit`
        into[:, part] = out


def _spread(
    takes: Sequence[Callable[[slice, torch.Tensor, torch.Tensor], None]],
    places: Sequence[int],
    part: slice,
    products: Sequence[torch.Tensor],
    work: torch.Tensor,
) -> None:
    """Hand the products with a part of the gallery to the measures, each those of its weights."""
    for take, place in zip(takes, places, strict=True):
        take(part, products[place], work)


def _finer(sets: Sequence[torch.Tensor], blocks: Blocks, grid: Grid) -> dict[int, Grid]:
    """Number of a block -> its own grid, for those that need one (`FINER`); none if they are too wide (`NARROW`)."""
    if len(blocks) == 1:
        return {}
    own = {number: finest_grid([rows[:, block] for rows in sets]) for number, block in enumerate(blocks)}
    found = {number: each for number, each in own.items() if POINT < each.step <= grid.step / FINER}
    return found if sum(_width(blocks[number]) for number in found) <= NARROW * len(grid.centre) else {}


def _width(block: slice) -> int:
    return block.stop - block.start


def weigh(values: torch.Tensor, weights: Weights) -> torch.Tensor:
    """sum_b w_b x_b, (n, B) -> (n,): added in the order of blocks, rounded after each step."""
    total = torch.zeros_like(values[:, 0])
    for number, weight in enumerate(weights):
        total += values[:, number] * weight
    return total


def _inverse_root(lengths: torch.Tensor) -> torch.Tensor:
    """1 / sqrt(x), 0 where x is 0."""
    return torch.where(lengths > 0, 1 / lengths.sqrt(), 0.0)
