import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from visrec.errors import UserError
from visrec.scoring import linear_probe
from visrec.scoring.linear_probe import rows
from visrec.scoring.moments import mean_and_scale

LOSSES = ["squared_hinge", "logistic"]
GRID = [1e-3, 1e-2, 1e-1]


def problem(n, dimensions, classes=4, seed=0, separation=0.4):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    X = rng.normal(size=(n, dimensions)) + separation * rng.normal(size=(classes, dimensions))[y]
    return X, y


def objective(X, y, C, classes, weights, bias, loss):
    """f of each class, written out."""
    margins = np.where(y[:, None] == np.asarray(classes), 1, -1) * (X @ weights + bias)
    losses = np.maximum(0, 1 - margins) ** 2 if loss == "squared_hinge" else np.logaddexp(0, -margins)
    return (np.square(weights).sum(axis=0) + np.square(bias)) / 2 + C * losses.sum(axis=0)


def gradient(X, y, C, classes, weights, bias, loss):
    signs = np.where(y[:, None] == np.asarray(classes), 1, -1)
    margins = signs * (X @ weights + bias)
    slope = -2 * np.maximum(0, 1 - margins) if loss == "squared_hinge" else -1 / (1 + np.exp(margins))
    return np.vstack([weights, bias]) + C * np.column_stack([X, np.ones(len(X))]).T @ (signs * slope)


def reference(X, y, C, loss):
    """liblinear's solution: weights (D, K) and bias (K,)."""
    if loss == "squared_hinge":
        found = LinearSVC(C=C, loss="squared_hinge", dual=True, tol=1e-10, max_iter=1_000_000).fit(X, y)
        return found.coef_.T, found.intercept_
    liblinear = LogisticRegression(C=C, solver="liblinear", intercept_scaling=1, tol=1e-10, max_iter=10_000)
    found = OneVsRestClassifier(liblinear).fit(X, y).estimators_
    return np.column_stack([each.coef_[0] for each in found]), np.array([each.intercept_[0] for each in found])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "dimensions"), [(200, 12), (40, 90), (60, 60)])
def test_same_optimum_as_liblinear(n, dimensions, loss):
    X, y = problem(n, dimensions)
    unseen, _ = problem(300, dimensions, seed=1)
    for solution in linear_probe.fit(X, y, GRID, range(4), loss):
        assert solution.converged
        weights, bias = reference(X, y, solution.C, loss)
        ours = objective(X, y, solution.C, range(4), solution.weights, solution.bias, loss)
        np.testing.assert_allclose(solution.objective, ours, rtol=1e-10)
        np.testing.assert_allclose(ours, objective(X, y, solution.C, range(4), weights, bias, loss), rtol=1e-6)
        # f bends at least as |w|^2 / 2 does, so f says how far the solutions can be apart, and the scores with them.
        apart = np.sqrt(2e-6 * solution.objective.max())
        assert np.linalg.norm(np.vstack([solution.weights - weights, solution.bias - bias]), axis=0).max() <= apart
        scores = unseen @ weights + bias
        top = np.sort(scores, axis=1)
        clear = top[:, -1] - top[:, -2] > 2 * apart * np.hypot(1, np.linalg.norm(unseen, axis=1))
        assert clear.mean() > 0.5
        assert (solution.predict(unseen) == scores.argmax(axis=1))[clear].all()


def test_two_points_by_hand():
    # x = +1 and -1: b = 0 by symmetry, and w^2/2 + 2C (1 - w)^2 is least at w = 4C / (1 + 4C).
    (solution,) = linear_probe.fit(np.array([[1.0], [-1.0]]), np.array([1, 0]), [0.5], [0, 1])
    np.testing.assert_allclose(solution.weights, [[-2 / 3, 2 / 3]], atol=1e-4)
    np.testing.assert_allclose(solution.bias, [0, 0], atol=1e-9)
    np.testing.assert_allclose(solution.objective, [1 / 3, 1 / 3], rtol=1e-6)
    assert solution.predict(np.array([[0.1], [-3.0]])).tolist() == [1, 0]


def test_two_points_of_the_logistic_loss_by_hand():
    # w^2/2 + 2C log(1 + exp(-w)) is least where w = 2C / (1 + exp(w)): w = 1 at C = (1 + e) / 2.
    C = (1 + np.e) / 2
    (solution,) = linear_probe.fit(np.array([[1.0], [-1.0]]), np.array([1, 0]), [C], [0, 1], "logistic")
    np.testing.assert_allclose(solution.weights, [[-1, 1]], atol=2e-3)
    np.testing.assert_allclose(solution.objective, 0.5 + (1 + np.e) * np.log1p(np.exp(-1)), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_row(loss):
    # w = a x by symmetry, with x = (2, 1): in m = 5a, f = m^2/10 + C loss(m).
    C, steps = 0.3, np.linspace(0, 3, 300_001)
    losses = np.maximum(0, 1 - steps) ** 2 if loss == "squared_hinge" else np.log1p(np.exp(-steps))
    (solution,) = linear_probe.fit(np.array([[2.0]]), np.array([5]), [C], [5, 6], loss)
    assert solution.converged
    assert solution.objective == pytest.approx(np.min(steps**2 / 10 + C * losses), rel=1e-6)
    assert solution.weights[0, 0] == pytest.approx(2 * solution.bias[0])
    np.testing.assert_allclose(solution.weights[:, 1], -solution.weights[:, 0])


def test_two_classes_keep_two_columns_and_their_names():
    X, y = problem(60, 5, classes=2)
    (solution,) = linear_probe.fit(X, np.where(y == 1, 7, 3), [1e-2], [3, 7])
    assert set(solution.predict(X)) == {3, 7}
    np.testing.assert_allclose(solution.weights[:, 0], -solution.weights[:, 1], atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_c_of_the_path_is_solved_on_its_own_terms(loss):
    X, y = problem(120, 20)
    path = linear_probe.fit(X, y, [1e-1, 1e-3, 1e-2], range(4), loss)
    assert [solution.C for solution in path] == GRID
    for solution in path:
        (alone,) = linear_probe.fit(X, y, [solution.C], range(4), loss)
        np.testing.assert_allclose(solution.objective, alone.objective, rtol=2e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_gap_bounds_the_error_and_the_end_is_reported(steps, loss, monkeypatch):
    X, y = problem(150, 30)
    (best,) = linear_probe.fit(X, y, [1.0], range(4), loss)
    assert best.converged
    assert (best.gap <= 1e-6).all()
    monkeypatch.setattr(linear_probe, "ITERATIONS", steps)
    (stopped,) = linear_probe.fit(X, y, [1.0], range(4), loss)
    assert not stopped.converged
    assert stopped.iterations <= 2 * steps  # at most so many in either precision
    assert ((stopped.objective - best.objective) / best.objective <= stopped.gap + 1e-6).all()
    written_out = objective(X, y, 1.0, range(4), stopped.weights, stopped.bias, loss)
    np.testing.assert_allclose(stopped.objective, written_out, rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dimensions", [8, 250])
def test_gap_is_that_of_the_gradient(dimensions, loss):
    X, y = problem(100, dimensions)
    (solution,) = linear_probe.fit(X.astype(np.float32), y, [0.03], range(4), loss)
    X = X.astype(np.float32).astype(np.float64)
    g = gradient(X, y, 0.03, range(4), solution.weights, solution.bias, loss)
    excess = np.square(g).sum(axis=0) / 2
    np.testing.assert_allclose(solution.gap, excess / (solution.objective - excess), rtol=1e-4, atol=1e-15)
    assert (excess <= 1e-6 * solution.objective).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dimensions", [9, 200])
def test_centre_and_scale_are_those_of_a_standardised_copy(dimensions, loss):
    X, y = problem(80, dimensions)
    X = (X * np.logspace(-2, 2, dimensions) + 5).astype(np.float32)
    scaler = StandardScaler().fit(X)
    prepared = linear_probe.prepare(X, "cpu", scaler.mean_, scaler.scale_)
    copies = linear_probe.fit(scaler.transform(X.astype(np.float64)), y, GRID, range(4), loss)
    for folded, copy in zip(linear_probe.fit(prepared, y, GRID, range(4), loss), copies, strict=True):
        np.testing.assert_allclose(folded.objective, copy.objective, rtol=2e-6)
        np.testing.assert_allclose(folded.weights, copy.weights / scaler.scale_[:, None], atol=2e-3, rtol=2e-2)
        assert (folded.predict(X) == copy.predict(scaler.transform(X.astype(np.float64)))).mean() > 0.97
        changed = (X.astype(np.float64) - scaler.mean_) / scaler.scale_
        w = folded.weights * scaler.scale_[:, None]
        b = folded.bias + scaler.mean_ @ folded.weights
        np.testing.assert_allclose(folded.objective, objective(changed, y, folded.C, range(4), w, b, loss), rtol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_prepared_rows_serve_other_labels(loss):
    X, y = problem(90, 10)
    prepared = linear_probe.prepare(X)
    for labels in (y, y[::-1].copy()):
        (ours,) = linear_probe.fit(prepared, labels, [0.1], range(4), loss)
        (afresh,) = linear_probe.fit(X, labels, [0.1], range(4), loss)
        np.testing.assert_array_equal(ours.weights, afresh.weights)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dimensions", [10, 200])
def test_labellings_are_solved_at_once_each_as_alone(dimensions, loss, monkeypatch):
    X, y = problem(90, dimensions)
    rng = np.random.default_rng(5)
    labellings = np.stack([y, rng.permutation(y), rng.permutation(y)])
    prepared = linear_probe.prepare(X)
    monkeypatch.setattr(linear_probe, "COLUMNS", 5)  # groups that begin and end amid a labelling
    together = linear_probe.fit_labellings(prepared, labellings, [1e-1, 1e-2], range(4), loss)
    assert [[solution.C for solution in path] for path in together] == [[1e-2, 1e-1]] * 3
    for path, labels in zip(together, labellings, strict=True):
        for ours, alone in zip(path, linear_probe.fit(prepared, labels, [1e-1, 1e-2], range(4), loss), strict=True):
            assert ours.converged
            assert ours.classes.tolist() == [0, 1, 2, 3]
            np.testing.assert_allclose(ours.objective, alone.objective, rtol=2e-6)
            np.testing.assert_allclose(ours.weights, alone.weights, atol=2e-3)


def test_float32_blocks_panels_and_groups_of_classes_change_nothing(monkeypatch):
    X, y = problem(90, 10)
    X = X.astype(np.float32)
    (whole,) = linear_probe.fit(X.astype(np.float64), y, [1e-2], range(4))
    monkeypatch.setattr(rows, "BLOCK", {"cpu": 70})  # six rows
    monkeypatch.setattr(rows, "PANEL", 4)
    monkeypatch.setattr(linear_probe, "COLUMNS", 3)
    monkeypatch.setattr(linear_probe, "TOLERANCE", 1e-12)
    (blocks,) = linear_probe.fit(X, y, [1e-2], range(4))
    assert blocks.converged
    assert blocks.classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(blocks.objective, whole.objective, rtol=1e-6)
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-3)
    assert (blocks.predict(X) == whole.predict(X)).mean() > 0.98


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_that_is_too_coarse_is_left_for_float64(loss):
    X, y = problem(400, 20)
    X = (X + 1e5).astype(np.float32)  # 7 bits are left for the feature itself
    centre, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    (solution,) = linear_probe.fit(linear_probe.prepare(X, "cpu", centre, scale), y, [0.1], range(4), loss)
    assert solution.converged
    (copy,) = linear_probe.fit((X - centre) / scale, y, [0.1], range(4), loss)
    np.testing.assert_allclose(solution.objective, copy.objective, rtol=2e-6)


@pytest.mark.parametrize("dimensions", [5, 40])
def test_subnormal_features_are_answered_as_large_ones(dimensions):
    """2^-140 times small whole numbers are float32 without rounding, though weights that fit them are not."""
    rng = np.random.default_rng(0)
    large, y = rng.integers(-8, 9, (30, dimensions)).astype(np.float32), rng.integers(3, size=30)
    answers = []
    for X in (large, large * np.float32(2.0**-140)):
        prepared = linear_probe.prepare(X, "cpu", *mean_and_scale(X))
        solutions = linear_probe.fit(prepared, y, GRID, range(3))
        assert all(each.converged for each in solutions)
        answers.append(([each.predict(X).tolist() for each in solutions], [each.objective for each in solutions]))
    assert answers[0][0] == answers[1][0]
    np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_ill_conditioned_features(loss):
    rng = np.random.default_rng(0)
    X, y = problem(500, 40)
    X = (X @ (rng.normal(size=(40, 40)) * np.logspace(0, -6, 40)) @ rng.normal(size=(40, 40))).astype(np.float32)
    for solution in linear_probe.fit(X, y, [1e-2, 1, 100], range(4), loss):
        assert solution.converged
        g = gradient(X.astype(np.float64), y, solution.C, range(4), solution.weights, solution.bias, loss)
        assert (np.square(g).sum(axis=0) / 2 <= 1.01e-6 * solution.objective).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_repeated_rows_with_other_labels_and_a_large_step_of_c(loss):
    X, _ = problem(10, 60)
    y = np.random.default_rng(3).integers(4, size=20)
    assert all(s.converged for s in linear_probe.fit(np.repeat(X, 2, axis=0), y, [1e-2, 1, 100], range(4), loss))


@pytest.mark.parametrize("dimensions", [6, 120])
def test_absent_class_and_constant_features_are_harmless(dimensions):
    X, y = problem(50, dimensions, classes=3)
    X[:, 2] = 0
    (solution,) = linear_probe.fit(X, y, [1e-2], range(5))
    assert solution.converged
    np.testing.assert_allclose(solution.weights[2], 0, atol=1e-12)
    assert set(solution.predict(X)) <= {0, 1, 2}


def test_without_features_there_is_the_bias():
    # b^2/2 + C sum (1 - y b)^2 over three rows of which one is +1: b = -2C / (1 + 6C).
    (solution,) = linear_probe.fit(np.zeros((3, 0)), np.array([1, 0, 0]), [0.5], [1, 0])
    np.testing.assert_allclose(solution.bias, [-0.25, 0.25], atol=1e-3)
    assert solution.predict(np.zeros((2, 0))).tolist() == [0, 0]
    assert len(solution.predict(np.zeros((0, 0)))) == 0


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    dimensions=st.integers(0, 40),
    seed=st.integers(0, 2**16),
    power=st.integers(-4, 2),
    loss=st.sampled_from(LOSSES),
    single=st.booleans(),
)
@example(n=38, dimensions=17, seed=0, power=2, loss="squared_hinge", single=True)  # needs Hessians of each class
def test_every_solution_is_proven(n, dimensions, seed, power, loss, single):
    X, y = problem(n, dimensions, classes=3, seed=seed)
    X[:, ::3] = np.round(X[:, ::3])
    X = X.astype(np.float32 if single else np.float64)
    (solution,) = linear_probe.fit(X, y, [10.0**power], range(3), loss)
    assert solution.converged
    g = gradient(X.astype(np.float64), y, solution.C, range(3), solution.weights, solution.bias, loss)
    assert (np.square(g).sum(axis=0) / 2 <= 1.01e-6 * solution.objective).all()


@pytest.mark.parametrize("dimensions", [3, 40])
def test_bad_input(dimensions):
    with pytest.raises(UserError, match="no rows"):
        linear_probe.fit(np.zeros((0, dimensions)), np.zeros(0, int), [1.0], [0, 1])
    X, y = problem(10, dimensions)
    with pytest.raises(UserError, match="not finite, or too large"):
        linear_probe.fit(np.where(X > 1, np.nan, X), y, [1.0], range(4))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_c_out_of_all_proportion_ends(loss, monkeypatch):
    monkeypatch.setattr(linear_probe, "ITERATIONS", 20)
    X, y = problem(30, 4)
    for precision in (np.float32, np.float64):
        (solution,) = linear_probe.fit(X.astype(precision), y, [1e200], range(4), loss)
        assert not solution.converged


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dimensions", [30, 900])
def test_same_on_the_gpu(dimensions, loss):
    X, y = problem(400, dimensions)
    X = X.astype(np.float32)
    theirs = linear_probe.fit(X, y, GRID, range(4), loss, "cuda")
    for gpu, cpu in zip(theirs, linear_probe.fit(X, y, GRID, range(4), loss), strict=True):
        assert gpu.converged
        np.testing.assert_allclose(gpu.objective, cpu.objective, rtol=1e-6)


def test_the_smallest_of_the_best_c_is_kept(monkeypatch):
    X, y = problem(60, 5)
    accuracies = {1e-3: 0.5, 1e-2: 0.7, 1e-1: 0.7}
    best = linear_probe.fit_best(X, y, [1e-1, 1e-3, 1e-2], lambda solution: accuracies[solution.C])
    (alone,) = linear_probe.fit(X, y, [1e-2], np.unique(y))
    assert (best.C, best.classes.tolist()) == (1e-2, np.unique(y).tolist())
    np.testing.assert_allclose(best.weights, alone.weights, atol=1e-3)
    monkeypatch.setattr(linear_probe, "ITERATIONS", 0)
    assert linear_probe.fit_best(X, y, [1.0], lambda solution: 1.0) is None
