"""Tiles: some consecutive queries and their neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from visrec.errors import UserError
from visrec.scoring import threads
from visrec.scoring.neighbours.candidates import search_candidates, search_own
from visrec.scoring.neighbours.full import all_squared, at_once, k_nearest
from visrec.scoring.neighbours.grid import Rounded, slices
from visrec.scoring.neighbours.lists import Neighbours

QUERIES = 1024  # queries per tile


@dataclass(frozen=True)
class Tile:
    """Some consecutive queries and their neighbours.

    Attributes:
        queries: which rows of the queries.
        neighbours: of these q queries, numbered from 0.
        squared: float64 (q, N) on the device of the search, squared L2 distances to the whole gallery, equal to those
            of `neighbours`; inf where the query leaves the row out. None unless the search was `full`.
    """

    queries: slice
    neighbours: Neighbours
    squared: torch.Tensor | None


def checked_pairs(exclude: np.ndarray | None, queries: int, rows: int, k: int) -> np.ndarray:
    """The pairs to leave out, ordered, each once.

    Raises:
        UserError: a query has fewer than k rows to choose from.
        IndexError: a pair names a query or a row that there is not.
    """
    exclude = np.zeros((0, 2), np.int64) if exclude is None else np.unique(exclude, axis=0)
    if ((exclude < 0) | (exclude >= (queries, rows))).any():
        raise IndexError(f"exclude has pairs outside {queries} queries and {rows} gallery rows")
    left = rows - np.bincount(exclude[:, 0], minlength=queries).max(initial=0)
    if k > left:
        raise UserError(f"k-NN: k = {k}, but only {left} images to choose from; choose a smaller k")
    return exclude


def search_tiles(gallery: Rounded, queries: torch.Tensor, k: int, exclude: np.ndarray, full: bool) -> Iterator[Tile]:
    """`tiles` of queries (Q, D) on the gallery's device, within its grid; `exclude` as of `checked_pairs`."""
    device = gallery.rows.device
    if not full and gallery.is_of(queries):
        found = search_own(gallery, k, lambda block: pairs_in(exclude, block, device))
        if found is not None:
            yield from (Tile(block, neighbours, None) for block, neighbours in found)
            return
    few = at_once(gallery)
    step = few if full else max(1, min(QUERIES, -(-len(queries) // threads.number(device))))
    tiles = list(slices(0, len(queries), step))

    def search(tile: slice) -> Neighbours | None:
        return None if full else search_candidates(gallery, queries[tile], k, pairs_in(exclude, tile, device))

    for tile, found in zip(tiles, threads.each(search, tiles, device), strict=True):
        if found is not None:
            yield Tile(tile, found, None)
            continue
        for part in slices(tile.start, tile.stop, few):
            squared = all_squared(gallery, queries[part], pairs_in(exclude, part, device))
            yield Tile(part, k_nearest(squared, k), squared if full else None)


def pairs_in(exclude: np.ndarray, tile: slice, device: str | torch.device) -> torch.Tensor:
    """The pairs of a tile's queries, which count from 0 in it. `exclude` is ordered by query."""
    first, last = np.searchsorted(exclude[:, 0], [tile.start, tile.stop])
    return torch.from_numpy(exclude[first:last] - [tile.start, 0]).to(device)
