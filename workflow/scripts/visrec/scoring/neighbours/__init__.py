"""Exact nearest neighbours in L2, with all ties, in bounded memory, the same to the last bit on every machine.

Features are first rounded to a grid on which squared distances are exact integers (`visrec.scoring.neighbours.grid`).
So results do not depend on tiles, blocks, threads, row order or device.

Two searches give the same neighbours. The full one computes all distances of a tile of queries
(`visrec.scoring.neighbours.full`). The other computes approximate distances, rules most rows out by a proven bound and
computes the exact distances of what is left (`visrec.scoring.neighbours.candidates`); where too much is left, the tile
is searched in full. Spaces that weigh the same columns share a full search (`visrec.scoring.neighbours.spaces`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from visrec.scoring.neighbours.grid import NORM, Rounded, finest_grid, squared_norms
from visrec.scoring.neighbours.lists import Neighbours
from visrec.scoring.neighbours.spaces import Searched, Space
from visrec.scoring.neighbours.tile import Tile, checked_pairs, search_tiles

__all__ = ["Gallery", "Neighbours", "Searched", "Space", "Tile", "nearest", "own_rows", "prepare", "tiles"]


def own_rows(query_ids: np.ndarray, gallery_ids: np.ndarray) -> np.ndarray:
    """Pairs of a query and a gallery row with the same id: what `tiles` excludes so that no query finds itself.

    Args:
        query_ids: str (Q,).
        gallery_ids: str (N,).

    Returns:
        int64 (P, 2), rows of the queries and of the gallery, ordered.
    """
    order = np.argsort(gallery_ids, kind="stable")
    first, last = (np.searchsorted(gallery_ids, query_ids, side, order) for side in ("left", "right"))
    counts = last - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs = [np.repeat(np.arange(len(query_ids)), counts), order[np.repeat(first, counts) + within]]
    return np.column_stack(pairs).astype(np.int64)


def nearest(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    exclude: np.ndarray | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Neighbours:
    """The k nearest gallery rows of each query in L2, with all ties of the k-th.

    Args:
        queries: float32 (Q, D), finite.
        gallery: float32 (N, D), finite.
        k: number of neighbours, at least 1.
        exclude: int64 (P, 2), pairs of a query and a gallery row that it leaves out; None: no pairs.
        device: where products are computed, CPU or CUDA.

    Raises:
        UserError: a query has fewer than k rows to choose from.
        IndexError: `exclude` names a query or a row that there is not.
    """
    return _joined(tiles(queries, gallery, k, exclude, device=device))


def tiles(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    exclude: np.ndarray | None = None,
    *,
    full: bool = False,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
) -> Iterator[Tile]:
    """`nearest`, a tile of queries at a time: memory stays bounded however many ties there are.

    Tiles cover the queries in order; how many queries are in one is not promised. The arguments are those of `nearest`;
    `full` asks for all distances. A rounded copy of the gallery, float32, is kept on the device; `overwrite` allows it
    to take the gallery's place. The grid is made for these queries and this gallery: distances may differ in its last
    steps when others join.

    Raises:
        UserError: a query has fewer than k rows to choose from.
        IndexError: `exclude` names a query or a row that there is not.
    """
    exclude = checked_pairs(exclude, len(queries), len(gallery), k)
    gallery_rows, query_rows = (torch.from_numpy(rows).to(device) for rows in (gallery, queries))
    rounded = Gallery.of(gallery_rows, finest_grid([gallery_rows, query_rows]), gallery_rows if overwrite else None)
    yield from search_tiles(rounded, query_rows, k, exclude, full)


def _joined(parts: Iterator[Tile]) -> Neighbours:
    """The neighbours of all tiles in one."""
    found = [tile.neighbours for tile in parts]
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(each.starts) for each in found)])
    return Neighbours(
        np.cumsum(lengths),
        np.concatenate([np.zeros(0, np.int64), *(each.rows for each in found)]),
        np.concatenate([np.zeros(0), *(each.squared for each in found)]),
    )


@dataclass(frozen=True)
class Gallery(Rounded):
    """A gallery on its grid, from `prepare`, for queries that come later.

    Its attributes are those of `Rounded`.
    """

    def holds(self, queries: np.ndarray) -> np.ndarray:
        """Which queries, float32 (Q, D), are near enough for exact distances: bool (Q,).

        All that are at most twice as far from the gallery's mean as its own farthest row are, to within the rounding.
        """
        rows = torch.from_numpy(queries).to(self.rows.device)
        inside = [squared_norms(block) <= NORM**2 for _, block in self.grid.blocks(rows)]
        return torch.cat([*inside, torch.ones(0, dtype=torch.bool, device=rows.device)]).cpu().numpy()

    def nearest(self, queries: np.ndarray, k: int, exclude: np.ndarray | None = None) -> Neighbours:
        """As `nearest` of the same queries and gallery, without preparing it again; on the gallery's device.

        A query gets the same distances alone and among others. The grid is one power of two coarser than that of the
        gallery alone would be, in rare cases two.

        Raises:
            UserError: a query has fewer than k rows to choose from.
            IndexError: `exclude` names a query or a row that there is not.
            ValueError: a query is not held.
        """
        exclude = checked_pairs(exclude, len(queries), len(self.rows), k)
        if not self.holds(queries).all():
            raise ValueError("a query is too far from the gallery for its grid; use `nearest` of both")
        return _joined(search_tiles(self, torch.from_numpy(queries).to(self.rows.device), k, exclude, full=False))


def prepare(gallery: np.ndarray, *, device: str | torch.device = "cpu") -> Gallery:
    """Round a gallery once, with room for queries that are up to twice as far out as its own rows.

    Args:
        gallery: float32 (N, D), finite, N at least 1.
        device: where it is searched, CPU or CUDA.
    """
    rows = torch.from_numpy(gallery).to(device)
    return Gallery.of(rows, finest_grid([rows], room=1))
