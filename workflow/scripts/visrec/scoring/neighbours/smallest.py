"""Small values of each row of a matrix of distances, without sorting it: columns are looked at in groups."""

import math

import torch


def group_span(columns: int, k: int) -> int:
    """Columns per group: so many groups that the k smallest values rarely share one, and few enough to sort."""
    return max(1, columns // (4 * k + math.isqrt(columns)))


def group_minima(values: torch.Tensor, span: int) -> torch.Tensor:
    """Smallest values of groups of columns, float (q, n) -> (q, G): looking at these saves sorting everything.

    With w = n // span, group g < w holds the columns g, g + w, ..., g + (span - 1) w. Columns that are left over are
    groups of their own: group g >= w is column g + (span - 1) w.
    """
    wide = values.shape[1] // span
    grouped = values[:, : span * wide].unflatten(1, (span, wide))
    return torch.cat([grouped.amin(dim=1), values[:, span * wide :]], dim=1)


def entries_up_to(
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
