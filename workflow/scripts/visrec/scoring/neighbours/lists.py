"""Lists of neighbours: pairs of a query and a gallery row, sorted by distance and cut behind the k-th."""

from dataclasses import dataclass

import numpy as np
import torch


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


def sorted_lists(query: torch.Tensor, row: torch.Tensor, squared: torch.Tensor, queries: int, k: int) -> Neighbours:
    """Sort pairs with their squared distances, and cut what is farther than the k-th. Each query has at least k."""
    order = order_by(query, squared, row)
    query, row, squared = query[order], row[order], squared[order]
    each = torch.arange(queries + 1, device=query.device)
    kth = squared[torch.searchsorted(query, each[:-1]) + k - 1]
    near = squared <= kth[query]
    starts = torch.searchsorted(query[near], each)
    return Neighbours(*(part.cpu().numpy() for part in (starts, row[near], squared[near])))


def kth_smallest(query: torch.Tensor, values: torch.Tensor, queries: int, k: int) -> torch.Tensor:
    """The k-th smallest value of each query, (queries,); each has at least k."""
    order = order_by(query, values)
    first = torch.searchsorted(query[order], torch.arange(queries, device=query.device))
    return values[order[first + k - 1]]


def order_by(*keys: torch.Tensor) -> torch.Tensor:
    """The order that sorts by the first key, equal ones by the next, and so on."""
    if keys[0].device.type == "cpu":  # NumPy's stable sorts are faster than torch's
        return torch.from_numpy(np.lexsort([key.numpy() for key in reversed(keys)]))
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    return order
