"""Exact nearest neighbours in L2, with all ties, in bounded memory, the same to the last bit on every machine.

Distances are exact integers. Features are first rounded to a grid, x -> round((x - c) / s), with one step s for all
columns, a power of two, and a centre c, the gallery's mean to within the grid. The step is the finest that is sure to
keep every rounded row of queries and gallery within norm 2^24. Then each coordinate is an integer that float32 holds
exactly, |q - g|^2 <= 2^50, and all partial sums of |q|^2, |g|^2 and 2 q.g stay below 2^53: float64 products, in
whatever order they are added, with or without fused multiply-add, are exact. So results do not depend on tiles, blocks,
threads, row order or device. Multiplied by s^2 they are squared distances in the units of the features.

What rounding costs. Let L be the greatest distance of a row from c. Then s < 2^-23 L (1 + D 2^-20). A distance is off
by at most sqrt(D) s, and by about 0.4 s (s / sqrt(6), rms) where it is much longer than sqrt(D) s: about float32's own
rounding of a number as large as L. Equal rows stay equal. Where features are multiples of s, such as 8-bit pixels,
counts and flags of moderate size, nothing is rounded. Differences below s are lost: see docs/decisions/0008.

Two engines give the same neighbours.

`full`: float64 products give all squared distances of a tile of queries.

Otherwise, float32 products give approximate ones with a proven error bound. Every gallery row that the bound cannot
rule out becomes a candidate, and candidates get their exact distance. With u = 2^-24, a = |q|^2 and b = |g|^2,
b - 2 q.g is a sum of D + 1 terms, each rounded once. In any order of summation it is off by at most
    gamma_{D+1} (b + 2|q||g|),    gamma_n = n u / (1 - n u)    (Higham 2002, section 3.1).
Nothing underflows, as terms are integers. The code takes gamma_{D+2}: one u more than covers float64's rounding of the
bound itself. Where the bound decides little, the tile goes to the other engine.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from visrec.data.embeddings import read_embeddings
from visrec.data.files import atomic
from visrec.errors import UserError

QUERIES = 1024  # queries per tile
GALLERY = 4096  # gallery rows per block: with QUERIES, 16 MiB of approximate distances
MATRIX = 2**25  # exact distances in memory at once (256 MiB); also the greatest number of candidates of a tile
ENTRIES = {"cpu": 2**19, "cuda": 2**26}  # float64 features at once: 4 MiB stay in a CPU's cache, a GPU wants more
FACTOR = 2**22  # float64 features of a block of a product (32 MiB)
NORM = 2.0**24  # of a row on the grid
POINT = 2.0**-512  # step where all rows are equal: they are 0, and whatever else is asked for later is far outside
COLUMNS = ["query_id", "query_label", "rank", "id", "label", "distance", "correct"]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest gallery rows of each of Q queries, and all further rows at exactly the k-th distance.

    Those of query i are `rows[starts[i]:starts[i + 1]]`, at least k of them, sorted by (distance, row).

    Attributes:
        starts: int64 (Q + 1,).
        rows: int64 (E,), gallery rows.
        squared: float64 (E,), squared L2 distances of the rounded features, in the units of the features.
    """

    starts: np.ndarray
    rows: np.ndarray
    squared: np.ndarray

    def count(self, labels: np.ndarray, classes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Class counts of the gallery rows nearer than the k-th distance, and of those at it.

        Args:
            labels: int64 (N,), classes of the gallery, 0..classes - 1.
            classes: C.
            k: at most the k of the search.

        Returns:
            nearer and tied, int64 (Q, C).
        """
        queries = len(self.starts) - 1
        query = np.repeat(np.arange(queries), np.diff(self.starts))
        kth = self.squared[self.starts[:-1] + k - 1][query]
        cell = query * classes + labels[self.rows]
        nearer, tied = (
            np.bincount(cell[which], minlength=queries * classes).reshape(queries, classes)
            for which in (self.squared < kth, self.squared == kth)
        )
        return nearer, tied


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
    device: str | torch.device = "cpu",
) -> Iterator[Tile]:
    """`nearest`, a tile of queries at a time: memory stays bounded however many ties there are.

    Tiles cover the queries in order; how many queries are in one is not promised. The arguments are those of `nearest`;
    `full` asks for all distances. A rounded copy of the gallery, float32, is kept on the device. The grid is made for
    these queries and this gallery: distances may differ in its last steps when others join.

    Raises:
        UserError: a query has fewer than k rows to choose from.
        IndexError: `exclude` names a query or a row that there is not.
    """
    exclude = _checked(exclude, len(queries), len(gallery), k)
    gallery_rows, query_rows = (torch.from_numpy(rows).to(device) for rows in (gallery, queries))
    yield from _tiles(_rounded(gallery_rows, _grid([gallery_rows, query_rows])), query_rows, k, exclude, full)


def _joined(parts: Iterator[Tile]) -> Neighbours:
    """The neighbours of all tiles in one."""
    found = [tile.neighbours for tile in parts]
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(each.starts) for each in found)])
    return Neighbours(
        np.cumsum(lengths),
        np.concatenate([np.zeros(0, np.int64), *(each.rows for each in found)]),
        np.concatenate([np.zeros(0), *(each.squared for each in found)]),
    )


def _checked(exclude: np.ndarray | None, queries: int, rows: int, k: int) -> np.ndarray:
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


def _tiles(gallery: "Gallery", queries: torch.Tensor, k: int, exclude: np.ndarray, full: bool) -> Iterator[Tile]:
    """`tiles` of queries (Q, D) on the gallery's device, within its grid; `exclude` as of `_checked`."""
    device = gallery.rows.device
    few = max(1, MATRIX // len(gallery.rows))  # queries whose distances to the whole gallery are in memory at once
    for tile in _slices(0, len(queries), few if full else QUERIES):
        apart = _pairs_in(exclude, tile, device)
        found = None if full else _from_candidates(gallery, queries[tile], k, apart)
        if found is not None:
            yield Tile(tile, found, None)
            continue
        for part in _slices(tile.start, tile.stop, few):
            squared = _all_squared(gallery, queries[part], _pairs_in(exclude, part, device))
            yield Tile(part, _from_all(squared, k), squared if full else None)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))


def _pairs_in(exclude: np.ndarray, tile: slice, device: str | torch.device) -> torch.Tensor:
    """The pairs of a tile's queries, which count from 0 in it. `exclude` is ordered by query."""
    first, last = np.searchsorted(exclude[:, 0], [tile.start, tile.stop])
    return torch.from_numpy(exclude[first:last] - [tile.start, 0]).to(device)


@dataclass(frozen=True)
class _Grid:
    """x -> round((x - centre) / step): centre float64 (D,), whole multiples of step, a power of two."""

    centre: torch.Tensor
    step: float

    def integers(self, rows: torch.Tensor) -> torch.Tensor:
        """Rounded rows, float64: a difference, a power of two, half to even. No room for devices to differ."""
        return (rows - self.centre).mul_(1 / self.step).round_()

    def blocks(self, rows: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rounded rows, as many at a time as the device likes."""
        for part in _slices(0, len(rows), max(1, ENTRIES[rows.device.type] // max(1, rows.shape[1]))):
            yield part, self.integers(rows[part])


@dataclass(frozen=True)
class Gallery:
    """A gallery on its grid, from `prepare`, for queries that come later.

    Attributes:
        rows: float32 (N, D), the rounded rows, in which they are exact.
        grid: what they were rounded to.
        squares: float64 (N,), their squared norms, in units of the grid.
    """

    rows: torch.Tensor
    grid: "_Grid"
    squares: torch.Tensor

    def holds(self, queries: np.ndarray) -> np.ndarray:
        """Which queries, float32 (Q, D), are near enough for exact distances: bool (Q,).

        All that are at most twice as far from the gallery's mean as its own farthest row are, to within the rounding.
        """
        rows = torch.from_numpy(queries).to(self.rows.device)
        inside = [_squares(block) <= NORM**2 for _, block in self.grid.blocks(rows)]
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
        exclude = _checked(exclude, len(queries), len(self.rows), k)
        if not self.holds(queries).all():
            raise ValueError("a query is too far from the gallery for its grid; use `nearest` of both")
        return _joined(_tiles(self, torch.from_numpy(queries).to(self.rows.device), k, exclude, full=False))


def prepare(gallery: np.ndarray, *, device: str | torch.device = "cpu") -> Gallery:
    """Round a gallery once, with room for queries that are up to twice as far out as its own rows.

    Args:
        gallery: float32 (N, D), finite, N at least 1.
        device: where it is searched, CPU or CUDA.
    """
    rows = torch.from_numpy(gallery).to(device)
    return _rounded(rows, _grid([rows], room=1))


def _rounded(rows: torch.Tensor, grid: "_Grid") -> Gallery:
    rounded, squares = torch.empty_like(rows), torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for part, block in grid.blocks(rows):
        rounded[part], squares[part] = block, _squares(block)
    return Gallery(rounded, grid, squares)


def _squares(rows: torch.Tensor) -> torch.Tensor:
    return rows.square().sum(dim=1)


def _grid(sets: list[torch.Tensor], room: int = 0) -> _Grid:
    """The finest grid that is sure to keep all rows of `sets` within 2^(24 - room), whatever their order.

    The centre is the mean of the first set, the gallery. `room` is left for others.

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
        return _Grid(middle, POINT)
    coarse = 2.0 ** (math.frexp(bound)[1] - 22 + room)
    grid = _Grid((middle / coarse).round() * coarse, coarse)
    total = sum(block.sum(dim=0) for _, block in grid.blocks(gallery))
    mean = np.rint(total.cpu().numpy() / len(gallery))  # on a GPU, torch would multiply by a rounded reciprocal
    grid = _Grid(grid.centre + torch.from_numpy(mean).to(gallery.device) * coarse, coarse)
    longest = max(_squares(block).max().item() for rows in sets for _, block in grid.blocks(rows))
    rounding = math.sqrt(gallery.shape[1]) / 2  # most that it adds to a norm, here and on the finer grid
    finer = math.frexp((NORM / 2**room - rounding) / (math.sqrt(longest) + rounding))[1] - 1
    return _Grid(grid.centre, coarse * 2.0**-finer)


def _all_squared(gallery: Gallery, queries: torch.Tensor, apart: torch.Tensor) -> torch.Tensor:
    """Exact squared distances to the whole gallery, float64 (q, N), inf for the pairs `apart`."""
    unit = gallery.grid.step**2
    points = gallery.grid.integers(queries)
    own = _squares(points)[:, None] * unit
    points *= unit
    squared = torch.empty(len(queries), len(gallery.rows), dtype=torch.float64, device=queries.device)
    for part in _slices(0, len(gallery.rows), max(1, FACTOR // max(1, points.shape[1]))):
        torch.add(own, gallery.squares[part] * unit, out=squared[:, part])
        squared[:, part].addmm_(points, gallery.rows[part].double().T, alpha=-2)
    squared[apart[:, 0], apart[:, 1]] = math.inf
    return squared


def _from_all(squared: torch.Tensor, k: int) -> Neighbours:
    span = _span(squared.shape[1], k)
    minima = _minima(squared, span)
    kth = minima.topk(k, largest=False).values[:, -1]  # the k-th of some rows: at least the k-th of all
    return _neighbours(*_at_most(squared, minima, span, kth), len(squared), k)


def _from_candidates(gallery: Gallery, queries: torch.Tensor, k: int, apart: torch.Tensor) -> Neighbours | None:
    """The neighbours of a tile; None if there are too many candidates."""
    points = gallery.grid.integers(queries)
    candidates = _candidates(gallery, points, k, apart)
    if candidates is None:
        return None
    query, row = candidates
    squared = torch.empty(len(query), dtype=torch.float64, device=points.device)
    for part in _slices(0, len(query), max(1, ENTRIES[points.device.type] // max(1, points.shape[1]))):
        difference = gallery.rows[row[part]].double()
        squared[part] = _squares(difference.sub_(points[query[part]]))
    return _neighbours(query, row, squared * gallery.grid.step**2, len(points), k)


def _candidates(
    gallery: Gallery, points: torch.Tensor, k: int, apart: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Pairs (query, gallery row) with all rows whose lower bound is within the k-th smallest upper bound.

    Squared distances are meant less a, which is constant for each query, in units of the grid.

    Args:
        gallery: what is searched.
        points: float64 (q, D), queries on the grid.
        k: number of neighbours.
        apart: int64 (P, 2), pairs to leave out.

    Returns:
        query and row, int64; or None if they would be more than `MATRIX`.
    """
    terms = (points.shape[1] + 2) * 2.0**-24
    gamma = terms / (1 - terms)
    single, norms = points.float(), _squares(points).sqrt()
    upper = torch.full((len(points), k), math.inf, dtype=torch.float64, device=points.device)
    found = []
    for part in _slices(0, len(gallery.rows), GALLERY):
        block, squares = gallery.rows[part], gallery.squares[part]
        with _ieee_float32():
            products = torch.addmm(squares.float(), single, block.T, alpha=-2)
        inside = apart[(apart[:, 1] >= part.start) & (apart[:, 1] < part.stop)]
        products[inside[:, 0], inside[:, 1] - part.start] = math.inf
        span, most = _span(len(block), k), _error(gamma, norms, squares.max())
        minima = _minima(products, span)
        upper = torch.cat([upper, minima + most[:, None]], dim=1).topk(k, largest=False).values
        query, column, product = _at_most(products, minima, span, upper[:, -1] + most)  # `upper` of blocks so far
        found.append((query, column + part.start, product))
        if sum(len(query) for query, _, _ in found) > MATRIX:
            return None
    query, row, product = (torch.cat(parts) for parts in zip(*found, strict=True))
    error = _error(gamma, norms[query], gallery.squares[row])
    keep = product - error <= _kth(query, product + error, len(points), k)[query]
    return query[keep], row[keep]


def _error(gamma: float, norms: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Bound of the module's docstring: norms |q|, squares |g|^2."""
    return gamma * (squares + 2 * norms * squares.sqrt())


def _span(columns: int, k: int) -> int:
    """Columns per group: so many groups that the k smallest values rarely share one, and few enough to sort."""
    return max(1, columns // (4 * k + math.isqrt(columns)))


def _minima(values: torch.Tensor, span: int) -> torch.Tensor:
    """Smallest values of groups of columns, float (q, n) -> (q, G): looking at these saves sorting everything.

    With w = n // span, group g < w holds the columns g, g + w, ..., g + (span - 1) w. Columns that are left over are
    groups of their own: group g >= w is column g + (span - 1) w.
    """
    wide = values.shape[1] // span
    grouped = values[:, : span * wide].unflatten(1, (span, wide))
    return torch.cat([grouped.amin(dim=1), values[:, span * wide :]], dim=1)


def _at_most(
    values: torch.Tensor, minima: torch.Tensor, span: int, limit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Finite entries up to a limit of each row, float64 (q,): their row, column and value, ordered by row."""
    limit = limit.clamp(max=torch.finfo(torch.float64).max)
    wide = values.shape[1] // span
    query, group = (minima <= limit[:, None]).nonzero(as_tuple=True)
    columns = group[:, None] + wide * torch.arange(span, device=values.device)
    near = values[query[:, None], columns] <= limit[query, None]
    near[:, :-1] &= (group < wide)[:, None]
    entry, member = near.nonzero(as_tuple=True)
    query, column = query[entry], columns[entry, member]
    return query, column, values[query, column]


def _neighbours(query: torch.Tensor, row: torch.Tensor, squared: torch.Tensor, queries: int, k: int) -> Neighbours:
    """Sort pairs with their squared distances, and cut what is farther than the k-th. Each query has at least k."""
    near = squared <= _kth(query, squared, queries, k)[query]
    query, row, squared = query[near], row[near], squared[near]
    order = _order(query, squared, row)
    starts = torch.searchsorted(query[order], torch.arange(queries + 1, device=query.device))
    return Neighbours(*(part.cpu().numpy() for part in (starts, row[order], squared[order])))


def _kth(query: torch.Tensor, values: torch.Tensor, queries: int, k: int) -> torch.Tensor:
    """The k-th smallest value of each query, (queries,); each has at least k."""
    order = _order(query, values)
    first = torch.searchsorted(query[order], torch.arange(queries, device=query.device))
    return values[order[first + k - 1]]


def _order(*keys: torch.Tensor) -> torch.Tensor:
    """The order that sorts by the first key, equal ones by the next, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    return order


@contextmanager
def _ieee_float32() -> Iterator[None]:
    """The bound holds for float32 products, not for the bfloat16 ones that a caller may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_queries(labels: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Rows to show as queries: a fixed choice that depends on labels and ids alone and takes classes in turn.

    In each class ids are ordered by their SHA-256; the first of all classes come before the second, and so on. So a
    smaller choice is the beginning of a larger one.

    Args:
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        count: how many; all rows if there are fewer.

    Returns:
        int64 (min(count, N),), in the order of being chosen.
    """
    digests = np.array([hashlib.sha256(str(image).encode()).hexdigest() for image in ids])
    turn = np.empty(len(ids), np.int64)
    for label in np.unique(labels):
        (rows,) = np.nonzero(labels == label)
        turn[rows[np.argsort(digests[rows])]] = np.arange(len(rows))
    return np.lexsort((digests, turn))[:count]


def write_neighbours(embeddings_path: str | Path, out_csv: str | Path, queries: int, k: int) -> None:
    """Write the k nearest training images of some test images as CSV, for the report to choose from.

    Queries are in the order of `choose_queries`. Columns: query_id, query_label, rank (1..k), id, label, distance (L2),
    correct (True or False). Labels are class names; without labels, they and `correct` are empty. Equal distances are
    ordered by id. If training failed, there is only the header.

    Args:
        embeddings_path: embeddings.h5.
        out_csv: the file to write.
        queries: number of test images, see `choose_queries`.
        k: number of neighbours of each.

    Raises:
        UserError: embeddings.h5 cannot be read, or there are fewer than k training images.
    """
    embeddings = read_embeddings(embeddings_path)
    test, train = embeddings.splits["test"], embeddings.splits["train"]
    names = [*embeddings.classes, ""]  # label -1 takes the last
    records = []
    if embeddings.status == "ok":
        chosen = choose_queries(test.labels, test.ids, queries)
        found = nearest(test.features[chosen], train.features, k)
        for i, query in enumerate(chosen):
            part = slice(found.starts[i], found.starts[i + 1])
            shown = sorted(zip(found.squared[part], train.ids[found.rows[part]], found.rows[part], strict=True))[:k]
            for rank, (squared, image, row) in enumerate(shown, start=1):
                truth, label = names[test.labels[query]], names[train.labels[row]]
                correct = truth == label if truth and label else None
                records.append((test.ids[query], truth, rank, image, label, math.sqrt(squared), correct))
    with atomic(out_csv) as temporary:
        pd.DataFrame(records, columns=COLUMNS).to_csv(temporary, index=False)
