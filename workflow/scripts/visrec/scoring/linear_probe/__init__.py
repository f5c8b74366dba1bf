"""Exact linear probes for many samples, many features and many classes at once: squared hinge and logistic loss.

One-vs-rest, L2-regularised:

    min_w f(w) = |w|^2 / 2 + C sum_i loss(y_i w.x_i),    y_i = +1 or -1,
    loss(m) = max(0, 1 - m)^2  (a linear SVM)    or    log(1 + exp(-m))  (logistic regression),

where each x_i ends in a constant 1 whose weight is the bias, regularised like the others: the problems of liblinear
(Fan et al., 2008), and so of scikit-learn's `LinearSVC` and `LogisticRegression(solver="liblinear")`, with
`intercept_scaling=1`.

All classes are searched for at once by conjugate gradients (`visrec.scoring.linear_probe.descent`), each C from the
solution of the one before. First the products are done in X's own precision. Then margins and gradient are computed
once more in float64; if the proven bound of the error does not hold there, the search goes on in float64. X is never
copied as a whole (`visrec.scoring.linear_probe.rows`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from visrec.scoring.linear_probe.descent import LOSSES, Limits, Loss, Point, Problem, minimise
from visrec.scoring.linear_probe.rows import BLOCK, Prepared, Products, prepare, products_of

__all__ = ["LOSSES", "Prepared", "Solution", "fit", "fit_best", "fit_labellings", "prepare"]

TOLERANCE = 1e-6  # (f - min f) / min f at which a class has converged
ITERATIONS = 300
PATIENCE = 20  # iterations without progress after which float32 is taken to be exhausted
COLUMNS = 32  # classes of all labellings that are fitted together: each has a few arrays of N values


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
    (path,) = fit_labellings(X if isinstance(X, Prepared) else prepare(X, device), y[None], C_grid, classes, loss)
    return path


def fit_labellings(
    prepared: Prepared,
    labellings: np.ndarray,
    C_grid: Sequence[float],
    classes: Sequence[int],
    loss: str = "squared_hinge",
) -> list[list[Solution]]:
    """Fit probes to several labellings of the same rows, all at once: they share each pass over X.

    Args:
        prepared: rows.
        labellings: int64 (S, N), S times the class of each row.
        C_grid: as for `fit`.
        classes: K classes, as for `fit`, of each labelling.
        loss: as for `fit`.

    Returns:
        For each labelling, what `fit` returns.
    """
    which = np.repeat(np.arange(len(labellings)), len(classes))
    names = np.tile(np.asarray(classes), len(labellings))
    paths = []
    for start in range(0, len(names), COLUMNS):
        columns = slice(start, start + COLUMNS)
        signs = np.where(labellings[which[columns]] == names[columns, None], 1.0, -1.0)
        paths.append(_path(prepared, signs, names[columns], sorted(C_grid), LOSSES[loss]))
    merged = [_merge(parts) for parts in zip(*paths, strict=True)]
    parts = [slice(start, start + len(classes)) for start in range(0, len(names), len(classes))]
    return [[_part(solution, columns) for solution in merged] for columns in parts]


def fit_best(
    X: np.ndarray | Prepared,
    y: np.ndarray,
    C_grid: Sequence[float],
    accuracy: Callable[[Solution], float],
    loss: str = "squared_hinge",
) -> Solution | None:
    """Fit probes for each C, and keep the one that is best on other images.

    Args:
        X: as for `fit`.
        y: int64 (N,); its classes are those of the probes.
        C_grid: positive.
        accuracy: of a solution, on images that are held out to choose C.
        loss: "squared_hinge" or "logistic".

    Returns:
        The solution with the highest accuracy, of equals the one with the smallest C; None if it did not converge.

    Raises:
        UserError: as for `fit`.
    """
    solutions = fit(X, y, C_grid, np.unique(y), loss)
    best = solutions[int(np.argmax([accuracy(each) for each in solutions]))]
    return best if best.converged else None


PER_CLASS = ("classes", "weights", "bias", "objective", "gap")


def _merge(parts: Sequence[Solution]) -> Solution:
    """The solutions of groups of classes as one."""
    together = {name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in PER_CLASS}
    return _solution(parts[0].C, together, max(part.iterations for part in parts))


def _part(solution: Solution, columns: slice) -> Solution:
    """Some classes of a solution."""
    chosen = {name: getattr(solution, name)[..., columns] for name in PER_CLASS}
    return _solution(solution.C, chosen, solution.iterations)


def _solution(C: float, per_class: dict[str, np.ndarray], iterations: int) -> Solution:
    converged = bool((per_class["gap"] <= TOLERANCE).all())
    return Solution(C=C, iterations=iterations, converged=converged, **per_class)


def _path(
    prepared: Prepared, labels: np.ndarray, classes: np.ndarray, C_grid: Sequence[float], loss: Loss
) -> list[Solution]:
    """Solutions for each C, of labels float64 (K, N), +1 or -1, of which `classes` (K,) are the names."""
    rows, reduced, basis = prepared.rows, prepared.reduced, prepared.basis
    exact, patience = products_of(prepared, torch.float64), ITERATIONS
    if reduced is not None:
        quick = Products(
            lambda V: V @ reduced.T,
            lambda R: R @ reduced,
            prepared.gram,
            lambda weights: (reduced.T * weights) @ reduced,
        )
    elif rows.X.dtype == torch.float64:
        quick = exact
    else:
        quick, patience = products_of(prepared, rows.X.dtype), PATIENCE
    signs = torch.from_numpy(labels).to(rows.X.device)
    point = Point(signs.new_zeros(len(signs), len(prepared.gram)), torch.zeros_like(signs))
    solutions = []
    for C in C_grid:
        problem = Problem(signs, C, loss)
        # Half the tolerance leaves room for what rounding adds to the gradient.
        found = minimise(quick, problem, point, Limits(TOLERANCE / 2, ITERATIONS, patience))
        point = found.point
        full = point.weights if basis is None else rows.combine(point.weights @ basis, torch.float64)
        # Reduced rows were float64 from the start: there is nothing to gain from going on, only to check.
        limits = Limits(TOLERANCE, ITERATIONS if basis is None else 0, ITERATIONS)
        checked = minimise(exact, problem, Point(full, rows.times(full, torch.float64)), limits)
        if basis is None:
            point = checked.point
        weights = checked.point.weights[:, :-1] / rows.scale
        bias = checked.point.weights[:, -1] - weights @ rows.centre
        numbers = (each.cpu().numpy() for each in (weights.T, bias, checked.f, checked.gap))
        per_class = dict(zip(PER_CLASS, (classes, *numbers), strict=True))
        solutions.append(_solution(C, per_class, found.iterations + checked.iterations))
    return solutions
