"""An exact linear SVM for many samples, many features and many classes at once.

One-vs-rest with squared hinge loss, L2-regularised:

    min_w f(w) = |w|^2 / 2 + C sum_i max(0, 1 - y_i w.x_i)^2,    y_i = +1 or -1,

where each x_i ends in a constant 1 whose weight is the bias, regularised like the others: the problem of scikit-learn's
`LinearSVC(loss="squared_hinge", intercept_scaling=1)` (liblinear).

Newton's method. f is convex and piecewise quadratic; with A the samples inside the margin (y_i w.x_i < 1),

    gradient g = w - 2C X_A^T (y_A - X_A w),    Hessian H = I + 2C X_A^T X_A.

All classes share X, so each step solves H p = -g for all of them together by conjugate gradients, preconditioned with a
Cholesky factor of I + 2C s X^T X (s = share of samples inside the margins), then backtracks. As f(w) - |w|^2 / 2 is
convex, f(w) - min f <= |g|^2 / 2: this bound ends the search, so a solution marked converged is proven.
With more features than samples, X = R^T Q^T (thin QR of X^T) and w = Q v reduce the problem exactly to the row space.
X may be float32; products are float64, a block of rows at a time, so X is never copied as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

TOLERANCE = 1e-6  # (f - min f) / min f at which a class has converged
NEWTON_STEPS = 100
CG_STEPS = 200
FORCING = 0.1  # residual of the conjugate gradients relative to the gradient
TINY = 1e-300  # keeps columns whose residual is exactly 0 at rest
BLOCK = 2**18  # float64 values of X at once: 2 MiB stay in the cache, and halve the time of larger blocks


@dataclass(frozen=True)
class Solution:
    """A linear SVM of K classes on D features.

    Attributes:
        C: weight of the loss.
        classes: int64 (K,), class of each column.
        weights: float64 (D, K).
        bias: float64 (K,).
        objective: float64 (K,), f.
        gap: float64 (K,), upper bound of (f - min f) / min f.
        iterations: Newton steps taken from the solution of the next smaller C.
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
        """Class of each row of X, float (N, D) -> int64 (N,)."""
        weights = torch.from_numpy(np.vstack([self.weights, self.bias]))
        return self.classes[_Rows(torch.as_tensor(X)).times(weights).argmax(dim=1).numpy()]


class _Rows:
    """X with a constant 1 behind each row (unless `constant` is False), multiplied in float64 block by block."""

    def __init__(self, X: torch.Tensor, constant: bool = True):
        self.X, self.constant = X, constant
        self.shape = len(X), X.shape[1] + constant

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        step = max(1, BLOCK // self.shape[1])
        for start in range(0, len(self.X), step):
            part = self.X[start : start + step]
            block = torch.ones(len(part), self.shape[1], dtype=torch.float64)
            block[:, : part.shape[1]] = part
            yield slice(start, start + step), block

    def times(self, V: torch.Tensor) -> torch.Tensor:
        """X V."""
        return torch.cat([block @ V for _, block in self.blocks()])

    def transposed_times(self, R: torch.Tensor) -> torch.Tensor:
        """X^T R."""
        return sum(block.T @ R[part] for part, block in self.blocks())

    def curvature(self, inside: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
        """X^T (inside * X V), in one pass over X."""
        return sum(block.T @ (inside[part] * (block @ V)) for part, block in self.blocks())

    def gram(self) -> torch.Tensor:
        """X^T X."""
        gram = torch.zeros(self.shape[1], self.shape[1], dtype=torch.float64)
        for _, block in self.blocks():
            gram.addmm_(block.T, block)
        return gram


def fit(X: np.ndarray, y: np.ndarray, C_grid: Sequence[float], classes: Sequence[int]) -> list[Solution]:
    """Fit one-vs-rest linear SVMs for each C, in ascending order, each from the solution of the one before.

    Args:
        X: float32 or float64 (N, D), finite.
        y: int64 (N,), the class of each row.
        C_grid: positive.
        classes: K classes, one problem each.

    Returns:
        a solution for each C, ascending; where the iterations ran out, `converged` is False.
    """
    rows, basis = _Rows(torch.as_tensor(X)), None
    if rows.shape[1] > rows.shape[0]:
        basis, upper = torch.linalg.qr(torch.cat([block for _, block in rows.blocks()]).T)
        rows = _Rows(upper.T.contiguous(), constant=False)
    classes = np.asarray(classes)
    signs = torch.from_numpy(np.where(y[:, None] == classes, 1.0, -1.0))
    gram = rows.gram()
    W = torch.zeros(rows.shape[1], len(classes), dtype=torch.float64)
    solutions = []
    for C in sorted(C_grid):
        W, objective, gap, iterations = _newton(rows, signs, C, gram, W)
        full = (W if basis is None else basis @ W).numpy()
        converged = bool((gap <= TOLERANCE).all())
        solutions.append(
            Solution(C, classes, full[:-1], full[-1], objective.numpy(), gap.numpy(), iterations, converged)
        )
    return solutions


def _newton(
    rows: _Rows, signs: torch.Tensor, C: float, gram: torch.Tensor, W: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Minimise f of every class from W; returns W, f, the bound on the relative error of f, and the steps taken."""

    def objective(W: torch.Tensor, F: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        return W.square().sum(0) / 2 + C * (1 - signs * F).clamp(min=0).square().sum(0)

    W, F = W.clone(), rows.times(W)
    share = (signs * F < 1).double().mean()
    factor = torch.linalg.cholesky(torch.eye(len(gram), dtype=torch.float64) + (2 * C * share) * gram)
    for iteration in range(NEWTON_STEPS + 1):
        f = objective(W, F, signs)
        slack = (1 - signs * F).clamp(min=0)
        gradient = W - 2 * C * rows.transposed_times(signs * slack)
        excess = gradient.square().sum(0) / 2
        gap = torch.where(excess < f, excess / (f - excess), torch.inf)
        (left,) = (gap > TOLERANCE).nonzero(as_tuple=True)
        if not len(left) or iteration == NEWTON_STEPS:
            break
        g = gradient[:, left]
        step = _solve(rows, (slack[:, left] > 0).double(), C, factor, -g)
        F_step, slope = rows.times(step), (g * step).sum(0)
        t = torch.ones_like(slope)
        for _ in range(50):  # Armijo's rule; the last term is the rounding of f
            trial = objective(W[:, left] + t * step, F[:, left] + t * F_step, signs[:, left])
            rejected = trial > f[left] * (1 + 1e-14) + 1e-4 * t * slope
            if not rejected.any():
                break
            t = torch.where(rejected, t / 2, t)
        W[:, left] += t * step
        F[:, left] += t * F_step
    return W, f, gap, iteration


def _solve(rows: _Rows, inside: torch.Tensor, C: float, factor: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Solve (I + 2C X_A^T X_A) P = target for all columns, by preconditioned conjugate gradients to `FORCING`."""
    P, R = torch.zeros_like(target), target.clone()
    Z = torch.cholesky_solve(R, factor)
    direction, RZ = Z, (R * Z).sum(0)
    for _ in range(CG_STEPS):
        image = direction + 2 * C * rows.curvature(inside, direction)
        alpha = RZ / (direction * image).sum(0).clamp(min=TINY)
        P += alpha * direction
        R -= alpha * image
        if (R.norm(dim=0) <= FORCING * target.norm(dim=0)).all():
            break
        Z = torch.cholesky_solve(R, factor)
        RZ, previous = (R * Z).sum(0), RZ
        direction = Z + RZ / previous.clamp(min=TINY) * direction
    return P
