"""The rows that linear probes are fitted to, and their products, without a copy of the whole.

Features are centred and scaled a block of rows at a time. With far more features than samples, X = U S V^T, from the
eigenvectors of X X^T, and w = V v reduce the problem to the row space, where X^T X is diagonal.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from visrec.errors import UserError

# Values of X at once: what stays in a core's cache halves the time; a GPU needs many.
BLOCK = {"cpu": 2**19, "cuda": 2**26}
SMALLEST = 1e-30  # scale that float32 takes: weights are divided by it
PANEL = 1024  # rows, and columns, of X at once in X^T X


@dataclass(frozen=True)
class Rows:
    """(X - centre) / scale with a constant 1 behind each row, (N, D + 1), of which X alone is in memory.

    In products, centre and scale are taken to the other factor.

    Attributes:
        X: float32 or float64 (N, D).
        centre, scale: float64 (D,).
    """

    X: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    @property
    def width(self) -> int:
        """D + 1."""
        return self.X.shape[1] + 1

    def blocks(self, dtype: torch.dtype) -> Iterator[tuple[slice, torch.Tensor]]:
        """X as it is, in blocks."""
        step = max(1, BLOCK[self.X.device.type] // self.width)
        for start in range(0, len(self.X), step):
            yield slice(start, start + step), self.X[start : start + step].to(dtype)

    def changed(self, rows: slice, dtype: torch.dtype) -> torch.Tensor:
        """Centred and scaled rows with the constant, (n, D + 1)."""
        part = (self.X[rows] - self.centre.to(dtype)) / self.scale.to(dtype)
        return torch.cat([part, part.new_ones(len(part), 1)], dim=1)

    def times(self, V: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """V X^T, float64 (K, N), of V (K, D + 1). This way round, skinny products are three times as fast."""
        weights = (V[:, :-1] / self.scale).to(dtype)
        bias = V[:, -1] - weights.double() @ self.centre  # of the rounded weights, so that large means cancel
        product = torch.empty(len(V), len(self.X), dtype=torch.float64, device=V.device)
        for rows, block in self.blocks(dtype):
            product[:, rows] = weights @ block.T
        return product.add_(bias[:, None])

    def combine(self, R: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """R X, float64 (K, D + 1), of R (K, N); blocks are summed in float64 whatever they are computed in."""
        R = R.to(dtype)
        product = torch.zeros(len(R), self.X.shape[1], dtype=torch.float64, device=R.device)
        for rows, block in self.blocks(dtype):
            product += R[:, rows] @ block
        total = R.sum(1, keepdim=True, dtype=torch.float64)
        return torch.cat([(product - total * self.centre) / self.scale, total], dim=1)

    def gram(self, dtype: torch.dtype, weights: torch.Tensor | None = None) -> torch.Tensor:
        """X^T diag(weights) X, (D + 1, D + 1), of weights float64 (N,), None = 1; only the lower triangle is right."""
        gram = torch.zeros(self.width, self.width, dtype=dtype, device=self.X.device)
        for first in range(0, len(self.X), PANEL):
            rows = slice(first, first + PANEL)
            block = self.changed(rows, dtype)
            if weights is not None:
                block *= weights[rows].sqrt().to(dtype)[:, None]
            for start in range(0, self.width, PANEL):
                stop = start + PANEL
                gram[start:stop, :stop].addmm_(block[:, start:stop].T, block[:, :stop])
        return gram


@dataclass(frozen=True)
class Prepared:
    """Rows ready for several fits, with what does not depend on labels: see `prepare`.

    Attributes:
        rows: X on the device.
        gram: X^T X of the centred and scaled rows, (D + 1, D + 1), lower triangle; or, of reduced rows, its diagonal.
        reduced: float64 (N, R), U S: the rows in their row space; None = there are enough rows.
        basis: float64 (R, N), S^-1 U^T: what makes V^T of X; or None.
    """

    rows: Rows
    gram: torch.Tensor
    reduced: torch.Tensor | None = None
    basis: torch.Tensor | None = None


def prepare(
    X: np.ndarray,
    device: torch.device | str = "cpu",
    centre: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> Prepared:
    """Move X to the device and get ready for fits on (X - centre) / scale.

    Args:
        X: float32 or float64 (N, D), finite, N at least 1. On the CPU it is not copied, unless `scale` is tiny.
        device: where to compute.
        centre: float64 (D,), None = 0.
        scale: float64 (D,), positive, None = 1.

    Raises:
        UserError: there are no rows, or features are not finite or too large to be squared.
    """
    if not len(X):
        raise UserError("linear probe: there are no rows to learn from")
    X = torch.as_tensor(X, device=device)
    if scale is not None and scale.min(initial=np.inf) < SMALLEST:
        X = X.double()
    rows = Rows(
        X,
        torch.as_tensor(np.zeros(X.shape[1]) if centre is None else centre, dtype=torch.float64, device=device),
        torch.as_tensor(np.ones(X.shape[1]) if scale is None else scale, dtype=torch.float64, device=device),
    )
    if 2 * len(X) > rows.width:  # with more rows, the reduction costs more than it saves
        return Prepared(rows, _finite(rows.gram(rows.X.dtype)))
    full = rows.changed(slice(None), torch.float64)
    values, vectors = torch.linalg.eigh(_finite(full @ full.T))
    kept = values > values[-1] * len(X) * torch.finfo(torch.float64).eps  # the others are rounding
    values, vectors = values[kept], vectors[:, kept]
    return Prepared(rows, values, vectors * values.sqrt(), (vectors / values.sqrt()).T)


def _finite(gram: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(gram).all():
        raise UserError("linear probe: features are not finite, or too large to be squared; standardise them")
    return gram


class Products(NamedTuple):
    """Products with rows X (N, R) that the search needs.

    Attributes:
        times: V (K, R) -> V X^T (K, N).
        combine: R (K, N) -> R X (K, R).
        gram: X^T X, lower triangle, or its diagonal.
        weighted: weights (N,) -> X^T diag(weights) X, lower triangle.
    """

    times: Callable[[torch.Tensor], torch.Tensor]
    combine: Callable[[torch.Tensor], torch.Tensor]
    gram: torch.Tensor
    weighted: Callable[[torch.Tensor], torch.Tensor]


def products_of(prepared: Prepared, dtype: torch.dtype) -> Products:
    """Products with all of the rows, in a precision."""
    rows = prepared.rows
    return Products(
        partial(rows.times, dtype=dtype), partial(rows.combine, dtype=dtype), prepared.gram, partial(rows.gram, dtype)
    )
