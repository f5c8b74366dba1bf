"""The search by candidates: float32 products with a proven bound leave few rows that need an exact distance.

Every gallery row that the bound cannot rule out becomes a candidate, and candidates get their exact distance. With
u = 2^-24 and b = |g|^2, b - 2 q.g is a sum of D + 1 terms, each rounded once. Computed in any order, it is off by at
most
    gamma_{D+1} (b + 2|q||g|),    gamma_n = n u / (1 - n u)    (Higham 2002, section 3.1).
Nothing underflows, as terms are integers. The code takes gamma_{D+2}: one u more than covers float64's rounding of the
bound itself. Where the bound rules out little, the search gives up.
"""

import math
from collections.abc import Callable, Iterator

import torch

from visrec.scoring import threads
from visrec.scoring.neighbours.grid import ENTRIES, Rounded, slices, squared_norms
from visrec.scoring.neighbours.lists import Neighbours, kth_smallest, order_by, sorted_lists
from visrec.scoring.neighbours.products import multiply
from visrec.scoring.neighbours.smallest import entries_up_to, group_minima, group_span

GALLERY = 4096  # gallery rows per block: with 1024 queries, 16 MiB of approximate distances
OWN = 2048  # gallery rows per block where they are the queries, too
EACH = 8  # times k, candidates that a query is expected to have where all rows ask at once
CANDIDATES = 2**25  # in memory at once, at most


def search_candidates(gallery: Rounded, queries: torch.Tensor, k: int, apart: torch.Tensor) -> Neighbours | None:
    """The neighbours of a tile; None if there are too many candidates."""
    points = gallery.grid.integers(queries)
    candidates = find_candidates(gallery, points, k, apart)
    if candidates is None:
        return None
    return _measured(gallery, points, k, candidates)


def _measured(
    gallery: Rounded, points: torch.Tensor, k: int, candidates: tuple[torch.Tensor, torch.Tensor]
) -> Neighbours:
    """The nearest of the candidates, by their exact distances."""
    query, row = candidates
    order = order_by(query)
    query, row = query[order], row[order]
    squared = exact_squared(gallery, points, query, row)
    return sorted_lists(query, row, squared * gallery.grid.step**2, len(points), k)


def exact_squared(gallery: Rounded, points: torch.Tensor, query: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Exact squared distances of pairs, in units of the grid: |q|^2 + |g|^2 - 2 q.g, as in `full`, one query at a time.

    Args:
        gallery: what is searched.
        points: float64 (q, D), queries on the grid.
        query: int64 (P,), ascending.
        row: int64 (P,), gallery rows.

    Returns:
        float64 (P,).
    """
    squared = squared_norms(points)[query] + gallery.squares[row]
    starts = torch.searchsorted(query, torch.arange(len(points) + 1, device=query.device)).tolist()
    step = max(1, ENTRIES[points.device.type] // max(1, points.shape[1]))
    for point, first, last in zip(points, starts, starts[1:], strict=False):
        for part in slices(first, last, step):
            squared[part] -= 2 * (gallery.rows.index_select(0, row[part]).double() @ point)
    return squared


def find_candidates(
    gallery: Rounded, points: torch.Tensor, k: int, apart: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Pairs (query, gallery row) with all rows whose lower bound is within k upper bounds.

    They are bounds of the squared distance less |q|^2, which is constant for each query, in units of the grid.

    Args:
        gallery: what is searched.
        points: float64 (q, D), queries on the grid.
        k: number of neighbours.
        apart: int64 (P, 2), pairs to leave out.

    Returns:
        query and row, int64; or None if they would be more than `CANDIDATES`.
    """
    within = _Within(gallery, squared_norms(points).sqrt(), k)
    asked = points.float()
    buffer = asked.new_empty(len(points) * min(GALLERY, len(gallery.rows)))  # memory that is new each time is slow
    kept = 0
    for part in slices(0, len(gallery.rows), GALLERY):
        products = _matrix(buffer, len(points), part.stop - part.start)
        kept += within.look(multiply(asked, gallery.rows[part], products), part, apart)
        if kept > CANDIDATES:
            return None
    return within.pairs()


def search_own(
    gallery: Rounded, k: int, apart: Callable[[slice], torch.Tensor]
) -> Iterator[tuple[slice, Neighbours]] | None:
    """The neighbours of all gallery rows, some at a time; None if there are too many candidates.

    What two blocks of rows have as products serves both, so it is half the work of a search with other queries.

    Args:
        gallery: what is searched, by its own rows.
        k: number of neighbours.
        apart: a block of rows -> int64 (P, 2), the pairs that its queries, numbered in it, leave out.
    """
    if EACH * k * len(gallery.rows) > CANDIDATES:
        return None
    device = gallery.rows.device
    blocks, kept = list(slices(0, len(gallery.rows), OWN)), 0
    within = [_Within(gallery, gallery.squares[block].sqrt(), k) for block in blocks]
    left_out = [apart(block) for block in blocks]
    # One for each of those at work at once, which have numbers in a row.
    buffers = gallery.rows.new_empty(threads.number(device), 2, min(OWN, len(gallery.rows)) ** 2)

    def meet(pair: tuple[int, tuple[int, int]]) -> int:
        number, (i, j) = pair
        block, other, (first, second) = blocks[i], blocks[j], buffers[number % len(buffers)]
        here, there = block.stop - block.start, other.stop - other.start
        products = multiply(gallery.rows[block], gallery.rows[other], _matrix(first, here, there))
        found = 0
        if j != i:
            found = within[j].look(_matrix(second, there, here).copy_(products.T), block, left_out[j])
        return found + within[i].look(products, other, left_out[i])

    for pairs in tournament(len(blocks)):
        kept += sum(threads.each(meet, list(enumerate(pairs)), device))
        if kept > CANDIDATES:
            return None

    def measured(number: int) -> tuple[slice, Neighbours]:
        block = blocks[number]
        return block, _measured(gallery, gallery.rows[block].double(), k, within[number].pairs())

    return threads.each(measured, range(len(blocks)), device)


def tournament(players: int) -> Iterator[list[tuple[int, int]]]:
    """Rounds in which each of 0..players - 1 meets each once, itself included; in a round it is in one pair at most."""
    yield [(player, player) for player in range(players)]
    turns = players - 1 + players % 2  # the last player sits, the others go round; who meets a missing one rests
    for turn in range(turns):
        met = [(turn, turns), *(((turn + step) % turns, (turn - step) % turns) for step in range(1, turns // 2 + 1))]
        yield [pair for pair in met if max(pair) < players]


def _matrix(buffer: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return buffer[: rows * columns].view(rows, columns)


class _Within:
    """The gallery rows that the bounds cannot rule out for some queries, as products with them come in."""

    def __init__(self, gallery: Rounded, norms: torch.Tensor, k: int):
        terms = (gallery.rows.shape[1] + 2) * 2.0**-24
        self._gamma = terms / (1 - terms)
        self._gallery, self._norms, self._k = gallery, norms, k
        self._upper = torch.full((len(norms), k), math.inf, dtype=torch.float64, device=norms.device)
        self._found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def look(self, products: torch.Tensor, part: slice, apart: torch.Tensor) -> int:
        """Take in products q.g, float32 (q, n) in any rounding, overwritten, with a part of the gallery.

        Returns:
            The number of pairs that this keeps; later products may still rule some out.
        """
        squares = self._gallery.squares[part]
        products.mul_(-2).add_(squares.float())
        inside = apart[(apart[:, 1] >= part.start) & (apart[:, 1] < part.stop)]
        products[inside[:, 0], inside[:, 1] - part.start] = math.inf
        span, most = group_span(len(squares), self._k), product_error(self._gamma, self._norms, squares.max())
        minima = group_minima(products, span)
        self._upper = torch.cat([self._upper, minima + most[:, None]], dim=1).topk(self._k, largest=False).values
        # `_upper` of the parts so far
        query, column, product = entries_up_to(products, minima, span, self._upper[:, -1] + most)
        self._found.append((query, column + part.start, product))
        return len(query)

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Query and row, int64, after the whole gallery was looked at."""
        query, row, product = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        error = product_error(self._gamma, self._norms[query], self._gallery.squares[row])
        keep = product - error <= self._upper[query, -1]
        query, row, product, error = query[keep], row[keep], product[keep], error[keep]
        queries, k = len(self._norms), self._k
        if len(query) > 2 * k * queries:  # long rows spoil the bounds of their blocks: better bounds are worth a sort
            keep = product - error <= kth_smallest(query, product + error, queries, k)[query]
            query, row = query[keep], row[keep]
        return query, row


def product_error(gamma: float, norms: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Bound of the error of b - 2 q.g, see above, from norms |q| and squares |g|^2."""
    return gamma * (squares + 2 * norms * squares.sqrt())
