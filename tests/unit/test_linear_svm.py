import numpy as np
import pytest
from sklearn.svm import LinearSVC

from visrec import linear_svm


def problem(n, dimensions, classes=4, seed=0, separation=0.4):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    X = rng.normal(size=(n, dimensions)) + separation * rng.normal(size=(classes, dimensions))[y]
    return X, y


def objective(X, y, solution):
    """f of each class, written out."""
    values = []
    for k, label in enumerate(solution.classes):
        w, b = solution.weights[:, k], solution.bias[k]
        loss = sum(max(0.0, 1 - (1 if yi == label else -1) * (x @ w + b)) ** 2 for x, yi in zip(X, y, strict=True))
        values.append(0.5 * (w @ w + b * b) + solution.C * loss)
    return np.array(values)


@pytest.mark.parametrize(("n", "dimensions"), [(200, 12), (40, 90), (60, 60)])
def test_same_optimum_as_liblinear(n, dimensions):
    X, y = problem(n, dimensions)
    unseen, _ = problem(300, dimensions, seed=1)
    for solution in linear_svm.fit(X, y, [1e-3, 1e-2, 1e-1], range(4)):
        assert solution.converged
        reference = LinearSVC(C=solution.C, loss="squared_hinge", dual=True, tol=1e-10, max_iter=1_000_000).fit(X, y)
        np.testing.assert_allclose(solution.weights.T, reference.coef_, atol=2e-4)
        np.testing.assert_allclose(solution.bias, reference.intercept_, atol=2e-4)
        theirs = objective(X, y, vars_like(solution, reference))
        np.testing.assert_allclose(solution.objective, objective(X, y, solution), rtol=1e-10)
        np.testing.assert_allclose(solution.objective, theirs, rtol=1e-6)
        # Where no two classes are level, the predictions agree.
        top = np.sort(reference.decision_function(unseen), axis=1)
        clear = top[:, -1] - top[:, -2] > 1e-3
        assert clear.mean() > 0.9
        assert (solution.predict(unseen) == reference.predict(unseen))[clear].all()


def vars_like(solution, reference):
    return linear_svm.Solution(
        **vars(solution) | {"weights": reference.coef_.T, "bias": np.ravel(reference.intercept_)}
    )


def test_two_points_by_hand():
    # x = +1 and -1: b = 0 by symmetry, and w^2/2 + 2C (1 - w)^2 is least at w = 4C / (1 + 4C).
    (solution,) = linear_svm.fit(np.array([[1.0], [-1.0]]), np.array([1, 0]), [0.5], [0, 1])
    np.testing.assert_allclose(solution.weights, [[-2 / 3, 2 / 3]], atol=1e-9)
    np.testing.assert_allclose(solution.bias, [0, 0], atol=1e-9)
    np.testing.assert_allclose(solution.objective, [1 / 3, 1 / 3])
    assert solution.predict(np.array([[0.1], [-3.0]])).tolist() == [1, 0]


def test_classes_keep_their_names():
    X, y = problem(60, 5, classes=2)
    (solution,) = linear_svm.fit(X, np.where(y == 1, 7, 3), [1e-2], [3, 7])
    assert set(solution.predict(X)) == {3, 7}
    np.testing.assert_allclose(solution.weights[:, 0], -solution.weights[:, 1], atol=1e-6)


def test_each_c_of_the_path_is_solved_on_its_own_terms():
    X, y = problem(120, 20)
    path = linear_svm.fit(X, y, [1e-1, 1e-3, 1e-2], range(4))
    assert [solution.C for solution in path] == [1e-3, 1e-2, 1e-1]
    for solution in path:
        (alone,) = linear_svm.fit(X, y, [solution.C], range(4))
        np.testing.assert_allclose(solution.objective, alone.objective, rtol=2e-6)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_gap_bounds_the_error_and_the_end_is_reported(steps, monkeypatch):
    X, y = problem(150, 30)
    (best,) = linear_svm.fit(X, y, [0.1], range(4))
    monkeypatch.setattr(linear_svm, "NEWTON_STEPS", steps)
    (stopped,) = linear_svm.fit(X, y, [0.1], range(4))
    least = best.objective / (1 + best.gap)  # at most the minimum
    assert stopped.iterations == steps
    assert ((stopped.objective - least) / least <= stopped.gap + 2e-6).all()
    assert not stopped.converged
    assert best.converged
    assert (best.gap <= 1e-6).all()


def test_gradient_vanishes_at_the_optimum():
    X, y = problem(100, 8)
    (solution,) = linear_svm.fit(X, y, [0.03], range(4))
    ones = np.column_stack([X, np.ones(100)])
    for k in range(4):
        w, signs = np.append(solution.weights[:, k], solution.bias[k]), np.where(y == k, 1, -1)
        gradient = w - 2 * 0.03 * ones.T @ (signs * np.maximum(0, 1 - signs * (ones @ w)))
        assert np.linalg.norm(gradient) ** 2 / 2 <= 1e-6 * solution.objective[k]


def test_float32_and_blocks_change_nothing(monkeypatch):
    X, y = problem(90, 10)
    X = X.astype(np.float32)
    (whole,) = linear_svm.fit(X.astype(np.float64), y, [1e-2], range(4))
    monkeypatch.setattr(linear_svm, "BLOCK", 70)  # six rows
    (blocks,) = linear_svm.fit(X, y, [1e-2], range(4))
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-9)
    assert (blocks.predict(X) == whole.predict(X)).all()


def test_an_absent_class_and_empty_features_are_harmless():
    X, y = problem(50, 6, classes=3)
    X[:, 2] = 0
    (solution,) = linear_svm.fit(X, y, [1e-2], range(5))
    assert solution.converged
    np.testing.assert_allclose(solution.weights[2], 0, atol=1e-12)
    assert set(solution.predict(X)) <= {0, 1, 2}
