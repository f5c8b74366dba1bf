"""The search by candidates: float32 products with a proven bound leave few rows that need an exact distance.

Every gallery row that the bound cannot rule out becomes a candidate, and candidates get their exact distance. With
u = 2^-24 and b = |g|^2, b - 2 q.g is a sum of D + 1 terms, each rounded once. Computed in any order, it is off by at
most
    gamma_{D+1} (b + 2|q||g|),    gamma_n = n u / (1 - n u)    (Higham 2002, section 3.1).
Nothing underflows, as terms are integers. The code takes gamma_{D+2}: one u more than covers float64's rounding of the
bound itself. Where the bound rules out little, the search gives up.
"""

import math

import torch

from visrec.scoring.neighbours.grid import ENTRIES, Rounded, slices, squared_norms
from visrec.scoring.neighbours.lists import Neighbours, kth_smallest, order_by, sorted_lists
from visrec.scoring.neighbours.products import multiply
from visrec.scoring.neighbours.smallest import entries_up_to, group_minima, group_span

GALLERY = 4096  # gallery rows per block: with 1024 queries, 16 MiB of approximate distances
CANDIDATES = 2**25  # of a tile, at most


def search_candidates(gallery: Rounded, queries: torch.Tensor, k: int, apart: torch.Tensor) -> Neighbours | None:
    """The neighbours of a tile; None if there are too many candidates."""
    points = gallery.grid.integers(queries)
    candidates = find_candidates(gallery, points, k, apart)
    if candidates is None:
        return None
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
    terms = (points.shape[1] + 2) * 2.0**-24
    gamma = terms / (1 - terms)
    twice, norms = (-2 * points).float(), squared_norms(points).sqrt()
    upper = torch.full((len(points), k), math.inf, dtype=torch.float64, device=points.device)
    found = []
    for part in slices(0, len(gallery.rows), GALLERY):
        block, squares = gallery.rows[part], gallery.squares[part]
        products = torch.empty(len(points), len(block), device=points.device)
        multiply(twice, block, products).add_(squares.float())
        inside = apart[(apart[:, 1] >= part.start) & (apart[:, 1] < part.stop)]
        products[inside[:, 0], inside[:, 1] - part.start] = math.inf
        span, most = group_span(len(block), k), product_error(gamma, norms, squares.max())
        minima = group_minima(products, span)
        upper = torch.cat([upper, minima + most[:, None]], dim=1).topk(k, largest=False).values
        query, column, product = entries_up_to(products, minima, span, upper[:, -1] + most)  # `upper` of blocks so far
        found.append((query, column + part.start, product))
        if sum(len(query) for query, _, _ in found) > CANDIDATES:
            return None
    query, row, product = (torch.cat(parts) for parts in zip(*found, strict=True))
    error = product_error(gamma, norms[query], gallery.squares[row])
    keep = product - error <= upper[query, -1]
    query, row, product, error = query[keep], row[keep], product[keep], error[keep]
    if len(query) > 2 * k * len(points):  # long rows spoil the bounds of their blocks: better bounds are worth a sort
        keep = product - error <= kth_smallest(query, product + error, len(points), k)[query]
        query, row = query[keep], row[keep]
    return query, row


def product_error(gamma: float, norms: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Bound of the error of b - 2 q.g, see above, from norms |q| and squares |g|^2."""
    return gamma * (squares + 2 * norms * squares.sqrt())
