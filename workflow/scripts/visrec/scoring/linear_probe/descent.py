"""Nonlinear conjugate gradients for linear probes: all classes in one pass over X, each with its own steps.

(Polak and Ribiere, 1969, with restarts.) The passes are what costs, so few of them must do:
- the preconditioner is a Cholesky factor of I + C h X^T X, the Hessian if all samples had the mean curvature h; in
  narrow problems that take long, it is the Hessian of each class;
- the line search is exact and needs the margins only, not X.

The end is proven. f(w) - |w|^2 / 2 is convex, so f(w) - min f <= |gradient|^2 / 2 (this is also the duality gap).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from visrec.scoring.linear_probe.rows import Products

RENEWAL = 15  # iterations after which the mean curvature is taken anew, and the search restarted
OWN = 16  # width, per iteration taken, to which each class's own Hessian costs no more than the search so far
WIDEST = 2048  # width to which there is memory for them
RIDGES = 20
LEVEL = 0.1  # slope at the end of a line search, relative to that at its start
LINE_STEPS = 30


class Loss(NamedTuple):
    """A loss of margins, elementwise, and its first two derivatives."""

    value: Callable[[torch.Tensor], torch.Tensor]
    slope: Callable[[torch.Tensor], torch.Tensor]
    curvature: Callable[[torch.Tensor], torch.Tensor]


LOSSES = {
    "squared_hinge": Loss(
        lambda m: (1 - m).clamp(min=0).square(),
        lambda m: -2 * (1 - m).clamp(min=0),
        lambda m: 2 * (m < 1).double(),
    ),
    "logistic": Loss(
        lambda m: torch.nn.functional.softplus(-m, threshold=40),
        lambda m: -torch.sigmoid(-m),
        lambda m: torch.sigmoid(m) * torch.sigmoid(-m),
    ),
}


class Problem(NamedTuple):
    """What is minimised.

    Attributes:
        signs: float64 (K, N), +1 or -1, whether each sample is of each class.
        C: weight of the loss.
        loss: of margins.
    """

    signs: torch.Tensor
    C: float
    loss: Loss


class Point(NamedTuple):
    """Weights W, float64 (K, R), and their image W X^T, float64 (K, N)."""

    weights: torch.Tensor
    image: torch.Tensor


class Limits(NamedTuple):
    """When a search ends.

    Attributes:
        tolerance: (f - min f) / min f at which a class has converged.
        iterations: the most there are.
        patience: iterations without progress.
    """

    tolerance: float
    iterations: int
    patience: int


class Minimum(NamedTuple):
    """Where a search ended.

    Attributes:
        point: the weights.
        f: float64 (K,).
        gap: float64 (K,), bound of the relative error of f.
        iterations: taken.
    """

    point: Point
    f: torch.Tensor
    gap: torch.Tensor
    iterations: int


def _preconditioners(
    products: Products, curvature: torch.Tensor, classes: torch.Tensor, iteration: int
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


def minimise(products: Products, problem: Problem, start: Point, limits: Limits) -> Minimum:
    """Minimise f of every class. Classes that have converged drop out.

    Args:
        products: with the rows.
        problem: labels, C and loss.
        start: where to begin.
        limits: when to end.
    """
    signs, C, loss = problem.signs, problem.C, problem.loss
    W, F = start.weights.clone(), start.image.clone()
    left = torch.arange(len(W), device=W.device)
    f, gap = (torch.zeros(len(W), dtype=torch.float64, device=W.device) for _ in range(2))
    direction, previous = torch.zeros_like(W), torch.zeros_like(W)
    previous_length = torch.full_like(f, torch.inf)  # so the first direction is that of steepest descent
    least, since = float("inf"), 0
    for iteration in range(limits.iterations + 1):
        y, w = signs[left], W[left]
        margins = y * F[left]
        f[left] = w.square().sum(1) / 2 + C * loss.value(margins).sum(1)
        gradient = w + products.combine(C * y * loss.slope(margins))
        excess = gradient.square().sum(1) / 2
        gap[left] = torch.where(excess < f[left], excess / (f[left] - excess), torch.inf)
        worst = float((excess / f[left]).max())
        if worst < least:
            least, since = worst, iteration
        keep = gap[left] > limits.tolerance
        if not keep.any() or iteration == limits.iterations or iteration - since == limits.patience:
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
    return Minimum(Point(W, F), f, gap, iteration)


def _line_search(
    linear: torch.Tensor, quadratic: torch.Tensor, margins: torch.Tensor, change: torch.Tensor, C: float, loss: Loss
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
