"""Lists of nearest neighbours with ties: which entries are among the k nearest, and with what probability.

The k nearest of a query are all rows nearer than the k-th distance and a random draw of `drawn` = k less their number
from the t rows tied at it. A score is its expected value over that draw, so it does not depend on the order of rows.

Lists are `starts`, `rows` and `squared` of `visrec.scoring.neighbours.Neighbours`.
"""

import numpy as np


def inclusion(starts: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
    """The probability that each entry of the lists is among the k nearest of its query.

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        squared: float64 (E,).
        k: at most the k of the search.

    Returns:
        float64 (E,): 1 nearer than the k-th distance, drawn / t at it, 0 beyond it.
    """
    nearer, tied, drawn, ties = _boundary(starts, squared, k)
    return np.where(nearer, 1.0, np.where(tied, np.repeat(drawn / ties, np.diff(starts)), 0.0))


def _boundary(starts: np.ndarray, squared: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Which entries are nearer than the k-th distance and which at it, bool (E,); `drawn` and t, int64 (Q,)."""
    kth = np.repeat(squared[starts[:-1] + k - 1], np.diff(starts))
    nearer, tied = squared < kth, squared == kth
    return nearer, tied, k - _sums(nearer, starts), _sums(tied, starts)


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums over the entries of each query; no list is empty. Bools are counted."""
    return np.add.reduceat(values, starts[:-1], axis=0, dtype=np.int64 if values.dtype == bool else np.float64)


def expected_share(starts: np.ndarray, squared: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Mean of a value over the k nearest of each query: (sum over nearer + drawn * mean over tied) / k.

    With values of 0 and 1 it is the share of the k nearest that have a property.

    Args:
        starts: int64 (Q + 1,), see `Neighbours`.
        squared: float64 (E,).
        values: (E,) or (E, A), A values of each entry, finite.
        k: at most the k of the search.

    Returns:
        float64 (Q,) or (Q, A).
    """
    nearer, tied, drawn, ties = (each.reshape(-1, *[1] * (values.ndim - 1)) for each in _boundary(starts, squared, k))
    nearer, tied = (_sums(np.where(which, values, 0.0), starts) for which in (nearer, tied))
    return (nearer + drawn * tied / ties) / k
