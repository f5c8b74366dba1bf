import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from visrec import evaluators
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.data.hdf5 import SPLITS
from visrec.data.query_scores import read_query_scores
from visrec.errors import UserError
from visrec.evaluators import _probe, logistic, svm
from visrec.experiment import registry
from visrec.scoring import linear_probe

GRID = [1e-4, 1e-3, 1e-2]
CPU = torch.device("cpu")
PARTS = {"train": slice(0, 250), "val": slice(250, 400), "test": slice(400, 560)}


def make(X, y, classes=10, parts=PARTS, status="ok"):
    splits = {
        split: EmbeddingSplit(
            X[part].astype(np.float32), y[part], np.array([f"{split}-{i}" for i in range(len(y[part]))])
        )
        for split, part in parts.items()
    }
    return Embeddings(splits, {"all": slice(0, X.shape[1])}, [str(c) for c in range(classes)], status)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def run(embeddings, C_grid, probe=svm):
    return evaluators.rows(probe.evaluate(embeddings, {"C": C_grid}, 0, CPU), embeddings)


def values(rows):
    return {(row["metric"], row["split"], row["average"]): row["value"] for row in rows}


LIBLINEAR = {
    svm: lambda C: LinearSVC(C=C, dual=True, tol=1e-8, max_iter=100_000),
    logistic: lambda C: OneVsRestClassifier(LogisticRegression(C=C, solver="liblinear", tol=1e-8, max_iter=10_000)),
}


@pytest.mark.parametrize("probe", LIBLINEAR, ids=["svm", "logistic"])
def test_same_choice_and_accuracies_as_scikit_learn(probe, digits):
    X, y = digits
    scores, balanced = {}, {}
    for C in GRID:
        reference = make_pipeline(StandardScaler(), LIBLINEAR[probe](C))
        reference.fit(X[PARTS["train"]], y[PARTS["train"]])
        scores[C] = {split: reference.score(X[part], y[part]) for split, part in PARTS.items()}
        predicted = reference.predict(X[PARTS["test"]])
        balanced[C] = balanced_accuracy_score(y[PARTS["test"]], predicted)
    best = max(GRID, key=lambda C: (scores[C]["val"], -C))
    found = values(run(make(X, y), GRID, probe))
    assert found["chosen_C", "val", "micro"] == best
    for split in SPLITS:
        assert found["accuracy", split, "micro"] == pytest.approx(scores[best][split])
    assert found["accuracy", "test", "macro"] == pytest.approx(balanced[best])


def test_rows(digits):
    X, y = digits
    rows = run(make(X, y), GRID)
    assert [(row["metric"], row["split"], row["average"]) for row in rows] == [
        ("accuracy", "train", "micro"),
        ("accuracy", "train", "macro"),
        ("accuracy", "val", "micro"),
        ("accuracy", "val", "macro"),
        ("accuracy", "test", "micro"),
        ("accuracy", "test", "macro"),
        ("accuracy_shuffled", "test", "micro"),
        ("accuracy_shuffled_sd", "test", "micro"),
        ("chosen_C", "val", "micro"),
    ]
    assert not [row for row in run(make(X, y), GRID, logistic) if "shuffled" in row["metric"]]
    commonest = np.bincount(y[PARTS["train"]]) == np.bincount(y[PARTS["train"]]).max()
    for row in rows[:-2]:
        part = PARTS[row["split"]]
        assert list(row) == evaluators.COLUMNS
        assert row["low"] < row["value"] < row["high"] or row["value"] == row["high"] == 1
        assert row["chance"] == 0.1
        share = np.mean([np.mean(y[part] == c) for c in np.flatnonzero(commonest)])
        assert row["majority"] == pytest.approx(share if row["average"] == "micro" else 0.1)
        assert (row["k"], row["n"], row["status"]) == (None, part.stop - part.start, "ok")
        assert row["features"] == "standardised"
    for row in rows[-2:]:
        assert row["chance"] is row["majority"] is None
        assert np.isnan([row["low"], row["high"]]).all()
    assert rows[-2]["n"] == _probe.SHUFFLES


def test_shuffled_labels_find_nothing(digits):
    X, y = digits
    found = values(run(make(X, y), [1e-3]))
    assert found["accuracy", "test", "micro"] > 0.6
    assert found["accuracy_shuffled", "test", "micro"] < 0.25
    labels, ids = np.arange(50) % 5, np.array([f"{i:02d}" for i in range(50)])
    dealt, order = _probe.shuffles(labels, ids, 3), np.random.default_rng(0).permutation(50)
    assert dealt.shape == (_probe.SHUFFLES, 50)
    assert len(np.unique(dealt, axis=0)) == _probe.SHUFFLES >= 2
    assert (np.sort(dealt, axis=1) == np.sort(labels)).all()
    # Other rows, the same images: an image keeps the label it was dealt if all labels are dealt by id.
    assert np.array_equal(_probe.shuffles(labels[order], ids[order], 3), dealt[:, order])


def test_the_control_is_the_mean_of_fits_to_shuffled_labels(digits):
    X, y = digits
    found = values(run(make(X, y), [1e-3]))
    train, test = make(X, y).splits["train"], make(X, y).splits["test"]
    accuracies = []
    for labels in _probe.shuffles(train.labels, train.ids, 0):
        reference = make_pipeline(StandardScaler(), LIBLINEAR[svm](1e-3)).fit(train.features, labels)
        accuracies.append(reference.score(test.features, test.labels))
    # One of the 160 test images may lie on a boundary.
    assert found["accuracy_shuffled", "test", "micro"] == pytest.approx(np.mean(accuracies), abs=1 / 160)
    assert found["accuracy_shuffled_sd", "test", "micro"] == pytest.approx(np.std(accuracies, ddof=1), abs=1 / 160)


def test_smallest_c_wins_ties():
    rng = np.random.default_rng(0)
    y = np.arange(560) % 2
    X = np.where(y, 5.0, -5.0)[:, None] + rng.normal(size=(560, 3))
    found = values(run(make(X, y, classes=2), [1e-2, 1e-4, 1e-3]))
    assert found["accuracy", "val", "micro"] == 1.0
    assert found["chosen_C", "val", "micro"] == 1e-4


def test_test_is_not_seen_before_c_is_chosen(digits, monkeypatch):
    X, y = digits
    seen = []
    correct = _probe._correct
    monkeypatch.setattr(_probe, "_correct", lambda e, split, *rest: seen.append(split) or correct(e, split, *rest))
    run(make(X, y), GRID)
    assert seen == ["val"] * len(GRID) + ["train", "val", "test"] + ["test"] * _probe.SHUFFLES


def test_order_of_rows_does_not_matter(digits):
    X, y = digits
    embeddings = make(X, y)
    rng = np.random.default_rng(0)
    splits = {}
    for split, part in embeddings.splits.items():
        order = rng.permutation(len(part.ids))
        splits[split] = EmbeddingSplit(part.features[order], part.labels[order], part.ids[order])
    other = Embeddings(splits, embeddings.layers, embeddings.classes)
    assert values(run(other, GRID)) == pytest.approx(values(run(embeddings, GRID)))


def test_scale_shift_and_constant_columns_do_not_matter(digits):
    X, y = digits
    plain = values(run(make(X, y), [1e-3]))
    moved = values(run(make(X * 64 - 512, y), [1e-3]))
    constant = np.column_stack([X, np.full(len(X), 0.1), np.zeros(len(X))])
    constant[PARTS["test"], -2:] += 3.0  # constant on train, and so nothing to learn from
    padded = values(run(make(constant, y), [1e-3]))
    assert plain == moved == padded


def test_standardised_on_train_alone(digits, monkeypatch):
    X, y = digits
    seen = []
    prepare = linear_probe.prepare
    monkeypatch.setattr(linear_probe, "prepare", lambda *given: seen.append(given) or prepare(*given))
    run(make(X, y), [1e-3])
    ((features, _, mean, scale),) = seen
    np.testing.assert_allclose(mean, X[PARTS["train"]].mean(axis=0), rtol=1e-6)
    deviation = X[PARTS["train"]].std(axis=0)
    np.testing.assert_allclose(scale, np.where(deviation == 0, 1, deviation), rtol=1e-6)
    assert len(features) == 250


def test_unconverged_is_a_status(digits, monkeypatch):
    X, y = digits
    monkeypatch.setattr(linear_probe, "ITERATIONS", 0)
    rows = run(make(X, y), GRID)
    assert len(rows) == 9
    for row in rows:
        assert row["status"] == "not converged"
        assert np.isnan([row["value"], row["low"], row["high"]]).all()


@pytest.mark.parametrize("probe", LIBLINEAR, ids=["svm", "logistic"])
def test_failed_training_gives_the_same_rows_without_values(probe, digits):
    X, y = digits
    expected = run(make(X, y), GRID, probe)
    rows = run(make(np.zeros((560, 0)), y[:560], status="diverged"), GRID, probe)
    for row, other in zip(rows, expected, strict=True):
        assert np.isnan([row["value"], row["low"], row["high"]]).all()
        assert row["status"] == "diverged"
        for key in (*evaluators.KEYS, "n", "chance", "majority"):
            assert row[key] == other[key]


def test_bad_input(digits):
    X, y = digits
    labels = y.copy()
    labels[PARTS["test"]] = -1
    with pytest.raises(UserError, match="labels are missing for 160 of 160 images of split 'test'"):
        run(make(X, labels), GRID)
    labels = y.copy()
    labels[PARTS["train"]] = 4
    with pytest.raises(UserError, match="one class"):
        run(make(X, labels), GRID)


def test_evaluate_writes_csv_and_queries(digits, tmp_path, monkeypatch):
    X, y = digits
    embeddings = make(X, y)
    monkeypatch.setattr(evaluators, "read_embeddings", lambda path: embeddings)
    files = tmp_path / "svm.csv", tmp_path / "svm.h5"
    evaluators.evaluate("svm", "embeddings.h5", {"C": GRID}, 0, CPU, *files)
    table = pd.read_csv(files[0])
    assert list(table) == evaluators.COLUMNS
    assert table["k"].isna().all()
    assert table["value"].tolist() == [row["value"] for row in run(embeddings, GRID)]
    queries = read_query_scores(files[1], "test")
    assert [row["metric"] for row in queries.rows] == ["accuracy", "accuracy_shuffled"]
    assert queries.scores[0].mean() == table["value"][4]


def test_options_are_declared_as_literals():
    assert registry.declared("evaluators", "svm")["OPTIONS"]["C"]["default"] == [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
