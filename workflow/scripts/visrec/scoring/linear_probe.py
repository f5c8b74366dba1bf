"""Exact linear probes for many samples, many features and many classes at once: squared hinge and logistic loss.

One-vs-rest, L2-regularised:

    min_w f(w) = |w|^2 / 2 + C sum_i loss(y_i w.x_i),    y_i = +1 or -1,
    loss(m) = max(0, 1 - m)^2  (a linear SVM)    or    log(1 + exp(-m))  (logistic regression),

where each x_i ends in a constant 1 whose weight is the bias, regularised like the others: the problems of liblinear
(Fan et al., 2008), and so of scikit-learn's `LinearSVC` and `LogisticRegression(solver="liblinear")`, with
`intercept_scaling=1`.

Nonlinear conjugate gradients (Polak and Ribiere, 1969, with restarts), all classes in one pass over X, each with its
own directions and steps. The passes are what costs, so few of them must do:
- the preconditioner is a Cholesky factor of I + C h X^T X, the Hessian if all samples had the mean curvature h; in
  narrow problems that take long, it is the Hessian of each class;
- the line search is exact and needs the margins only, not X;
- each C starts from the solution of the one before.

The end is proven. f(w) - |w|^2 / 2 is convex, so f(w) - min f <= |gradient|^2 / 2 (this is also the duality gap). First
the products are done in X's own precision. Then margins and gradient are computed once more in float64; if the bound
does not hold there, the search goes on in float64.

X is never copied as a whole: features are centred and scaled a block of rows at a time. With far more features than
samples, X = U S V^T, from the eigenvectors of X X^T, and w = V v reduce the problem to the row space, where the
preconditioner is diagonal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from visrec.errors import UserError

TOLERANCE = 1e-6  # (f - min f) / min f at which a class has converged
ITERATIONS = 300
PATIENCE = 20  # iterations without progress after which float32 is taken to be exhausted
RENEWAL = 15  # iterations after which the mean curvature is taken anew, and the search restarted
OWN = 16  # width, per iteration taken, to which each class's own Hessian costs no more than the search so far
WIDEST = 2048  # width to which there is memory for them
RIDGES = 20
LEVEL = 0.1  # slope at the end of a line search, relative to that at its start
LINE_STEPS = 30
# Values of X at once: what stays in a core's cache halves the time; a GPU wants many.
BLOCK = {"cpu": 2**19, "cuda": 2**26}
PANEL = 1024  # rows, and columns, of X at once in X^T X
CLASSES = 32  # fitted together: each has a few arrays of N values


class _Loss(NamedTuple):
    """A loss of margins, elementwise, and its first two derivatives."""

    value: Callable[[torch.Tensor], torch.Tensor]
    slope: Callable[[torch.Tensor], torch.Tensor]
    curvature: Callable[[torch.Tensor], torch.Tensor]


LOSSES = {
    "squared_hinge": _Loss(
        lambda m: (1 - m).clamp(min=0).square(),
        lambda m: -2 * (1 - m).clamp(min=0),
        lambda m: 2 * (m < 1).double(),
    ),
    "logistic": _Loss(
        lambda m: torch.nn.functional.softplus(-m, threshold=40),
        lambda m: -torch.sigmoid(-m),
        lambda m: torch.sigmoid(m) * torch.sigmoid(-m),
    ),
}


@dataclass(frozen=True)
class Solution:
    """A linear probe of K classes on D features: X weights + bias, the greatest names the class.

    Attributes:
        C: weight of the loss.
        classes: int64 (K,), class of each column.
        weights: float64 (D, K), for features as they were given to `prepare` or `fit`, before centring and scaling.
        bias: float64 (K,).
        objective: float64 (K,), f, of the centred and scaled features.
        gap: float64 (K,), upper bound of (f - min f) / min f.
        iterations: from the solution of the next smaller C.
        converged: whether every gap is at most `TOLERANCE`.
    """

    C: float
    classes: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    iterations: int
    converged: bool

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Class of each row of X, float (N, D) -> int64 (N,); the first of those level."""
        best = np.zeros(len(X), np.int64)
        step = max(1, BLOCK["cpu"] // max(1, X.shape[1]))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            best[rows] = (X[rows].astype(np.float64) @ self.weights + self.bias).argmax(axis=1)
        return self.classes[best]


@dataclass(frozen=True)
class _Rows:
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
    """What a fit needs of X whatever the labels are, for several fits on the same rows: see `prepare`.

    Attributes:
        rows: X on the device.
        gram: X^T X of the centred and scaled rows, (D + 1, D + 1), lower triangle; or, of reduced rows, its diagonal.
        reduced: float64 (N, R), U S: the rows in their row space; None = there are enough rows.
        basis: float64 (R, N), S^-1 U^T: what makes V^T of X; or None.
    """

    rows: _Rows
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
        X: float32 or float64 (N, D), finite, N at least 1. On the CPU it is not copied.
        device: where to compute.
        centre: float64 (D,), None = 0.
        scale: float64 (D,), positive, None = 1.

    Raises:
        UserError: there are no rows, or features are not finite or too large to be squared.
    """
    if not len(X):
        raise UserError("linear probe: there are no rows to learn from")
    rows = _Rows(
        torch.as_tensor(X, device=device),
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


def fit(
    X: np.ndarray | Prepared,
    y: np.ndarray,
    C_grid: Sequence[float],
    classes: Sequence[int],
    loss: str = "squared_hinge",
    device: torch.device | str = "cpu",
) -> list[Solution]:
    """Fit one-vs-rest linear probes for each C, in ascending order, each from the solution of the one before.

    Args:
        X: float32 or float64 (N, D), finite, N at least 1; or `prepare`d.
        y: int64 (N,), the class of each row.
        C_grid: positive.
        classes: K classes, one problem each.
        loss: "squared_hinge" or "logistic".
        device: where to compute, unless X is prepared.

    Returns:
        A solution for each C, ascending; where the iterations ran out, `converged` is False.

    Raises:
        UserError: there are no rows, or features are not finite or too large to be squared.
    """
    prepared = X if isinstance(X, Prepared) else prepare(X, device)
    classes = np.asarray(classes)
    groups = [classes[start : start + CLASSES] for start in range(0, len(classes), CLASSES)]
    paths = [_path(prepared, y, sorted(C_grid), group, LOSSES[loss]) for group in groups]
    return [_merge(parts) for parts in zip(*paths, strict=True)]


def _merge(parts: Sequence[Solution]) -> Solution:
    """The solutions of groups of classes as one."""
    return Solution(
        parts[0].C,
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in ("classes", "weights", "bias", "objective", "gap")
        ),
        max(part.iterations for part in parts),
        all(part.converged for part in parts),
    )


class _Products(NamedTuple):
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


def _products(prepared: Prepared, dtype: torch.dtype) -> _Products:
    """Products with all of the rows, in a precision."""
    rows = prepared.rows
    return _Products(
        partial(rows.times, dtype=dtype), partial(rows.combine, dtype=dtype), prepared.gram, partial(rows.gram, dtype)
    )


def _path(prepared: Prepared, y: np.ndarray, C_grid: list[float], classes: np.ndarray, loss: _Loss) -> list[Solution]:
    rows, reduced, basis = prepared.rows, prepared.reduced, prepared.basis
    exact, patience = _products(prepared, torch.float64), ITERATIONS
    if reduced is not None:
        quick = _Products(
            lambda V: V @ reduced.T,
            lambda R: R @ reduced,
            prepared.gram,
            lambda weights: (reduced.T * weights) @ reduced,
        )
    elif rows.X.dtype == torch.float64:
        quick = exact
    else:
        quick, patience = _products(prepared, rows.X.dtype), PATIENCE
    signs = torch.from_numpy(np.where(y == classes[:, None], 1.0, -1.0)).to(rows.X.device)
    W, F = signs.new_zeros(len(classes), len(prepared.gram)), torch.zeros_like(signs)
    solutions = []
    for C in C_grid:
        problem = signs, C, loss
        # Half the tolerance leaves room for what rounding adds to the gradient.
        W, F, _, _, iterations = _minimise(quick, *problem, W, F, TOLERANCE / 2, ITERATIONS, patience)
        full = W if basis is None else rows.combine(W @ basis, torch.float64)
        start = full, rows.times(full, torch.float64)
        # Reduced rows were float64 from the start: there is nothing to gain from going on, only to check.
        more = ITERATIONS if basis is None else 0
        full, margins, f, gap, further = _minimise(exact, *problem, *start, TOLERANCE, more)
        if basis is None:
            W, F = full, margins
        weights = full[:, :-1] / rows.scale
        bias = full[:, -1] - weights @ rows.centre
        found = (each.cpu().numpy() for each in (weights.T, bias, f, gap))
        solutions.append(Solution(C, classes, *found, iterations + further, bool((gap <= TOLERANCE).all())))
    return solutions


def _preconditioners(
    products: _Products, curvature: torch.Tensor, classes: torch.Tensor, iteration: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The function (gradients, their classes) -> about gradients times the inverse Hessian, float64 (K, R).

    All classes share one, with the mean curvature. If that is not good enough, each gets its own Hessian, as in
    Newton's method, as soon as that is no dearer than the iterations taken: among small problems some are hard.

    Args:
        products: with the rows.
        curvature: float64 (K, N), C times the loss's.
        classes: int64 (K,), whose they are.
        iteration: number of iterations taken.
    """
    if len(products.gram) > min(OWN * iteration, WIDEST):
        shared = _preconditioner(products.gram, float(curvature.mean()))
        return lambda G, left: shared(G)
    own = {
        int(c): _preconditioner(products.weighted(weights), 1.0) for c, weights in zip(classes, curvature, strict=True)
    }
    return lambda G, left: torch.cat([own[int(c)](g[None]) for c, g in zip(left, G, strict=True)])


def _preconditioner(gram: torch.Tensor, weight: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function G -> G (I + weight gram)^-1, float64 (K, R)."""
    if gram.ndim == 1:
        return lambda G: G / (1 + weight * gram)
    if not 0 < weight < float("inf"):  # no sample has a say, or C is out of all proportion
        return lambda G: G
    largest = max(weight, 1.0)  # divided by, so that nothing overflows
    # Where rounding has eaten the 1, more is added: any positive definite matrix will do, only less well.
    for ridge in 10.0 ** np.arange(RIDGES):
        matrix = gram * (weight / largest)
        matrix.diagonal().add_(ridge / largest)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if not info:
            break
    else:
        return lambda G: G
    solve = torch.linalg.solve_triangular

    def precondition(G: torch.Tensor) -> torch.Tensor:
        half = solve(factor, G.T.to(factor.dtype), upper=False)
        return solve(factor.mT, half, upper=True).T.double() / largest

    return precondition


def _minimise(
    products: _Products,
    signs: torch.Tensor,
    C: float,
    loss: _Loss,
    W: torch.Tensor,
    F: torch.Tensor,
    tolerance: float,
    limit: int,
    patience: int = ITERATIONS,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Minimise f of every class, float64 (K,), from W (K, R) with F = W X^T (K, N).

    Classes that have converged drop out. Ends when all have, when `limit` iterations are spent or when there was no
    progress in `patience` iterations.

    Returns:
        W, F, f, the bound on the relative error of f, and the iterations taken.
    """
    W, F = W.clone(), F.clone()
    left = torch.arange(len(W), device=W.device)
    f, gap = (torch.zeros(len(W), dtype=torch.float64, device=W.device) for _ in range(2))
    direction, previous = torch.zeros_like(W), torch.zeros_like(W)
    previous_length = torch.full_like(f, torch.inf)  # so the first direction is that of steepest descent
    least, since = float("inf"), 0
    for iteration in range(limit + 1):
        y, w = signs[left], W[left]
        margins = y * F[left]
        f[left] = w.square().sum(1) / 2 + C * loss.value(margins).sum(1)
        gradient = w + products.combine(C * y * loss.slope(margins))
        excess = gradient.square().sum(1) / 2
        gap[left] = torch.where(excess < f[left], excess / (f[left] - excess), torch.inf)
        worst = float((excess / f[left]).max())
        if worst < least:
            least, since = worst, iteration
        keep = gap[left] > tolerance
        if not keep.any() or iteration == limit or iteration - since == patience:
            break
        left, gradient, w, y, margins = left[keep], gradient[keep], w[keep], y[keep], margins[keep]
        if iteration % RENEWAL == 0:
            precondition = _preconditioners(products, C * loss.curvature(margins), left, iteration)
            previous_length.fill_(torch.inf)
        Z = precondition(gradient, left)
        length = (gradient * Z).sum(1)
        beta = ((gradient - previous[keep]) * Z).sum(1) / previous_length[keep]
        direction = beta.clamp(min=0)[:, None] * direction[keep] - Z
        uphill = (direction * gradient).sum(1) >= 0
        direction = torch.where(uphill[:, None], -Z, direction)
        previous, previous_length = gradient, length
        image = products.times(direction)
        regulariser = (w * direction).sum(1), direction.square().sum(1)
        t = _line_search(*regulariser, margins, y * image, C, loss)[:, None]
        W[left] += t * direction
        F[left] += t * image
    return W, F, f, gap, iteration


def _line_search(
    linear: torch.Tensor, quadratic: torch.Tensor, margins: torch.Tensor, change: torch.Tensor, C: float, loss: _Loss
) -> torch.Tensor:
    """The t > 0 at which phi(t) = t linear + t^2 quadratic / 2 + C sum loss(margins + t change) is nearly least.

    Newton's method on phi', with bisection where it would leave the bracket. Of all classes at once, (K,) and (K, N).
    """
    t = torch.zeros_like(linear)
    low, high = t, torch.full_like(t, torch.inf)
    for step in range(LINE_STEPS):
        moved = margins + t[:, None] * change
        slope = linear + t * quadratic + C * (loss.slope(moved) * change).sum(1)
        if step == 0:
            level = LEVEL * slope.abs()
        done = slope.abs() <= level
        if done.all():
            break
        low, high = torch.where(slope < 0, t, low), torch.where(slope > 0, t, high)
        newton = t - slope / (quadratic + C * (loss.curvature(moved) * change.square()).sum(1))
        bracketed = (newton > low) & (newton < high)
        t = torch.where(done, t, torch.where(bracketed, newton, (low + high) / 2))
    return t
