import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from visrec import evaluators, linear_svm, registry, store
from visrec.errors import UserError
from visrec.evaluators import svm

GRID = [1e-4, 1e-3, 1e-2]
PARTS = {"train": slice(0, 250), "val": slice(250, 400), "test": slice(400, 560)}


def make(X, y, classes=10, parts=PARTS, status="ok"):
    splits = {
        split: store.EmbeddingSplit(
            X[part].astype(np.float32), y[part], np.array([f"{split}-{i}" for i in range(len(y[part]))])
        )
        for split, part in parts.items()
    }
    return store.Embeddings(splits, {"all": slice(0, X.shape[1])}, [str(c) for c in range(classes)], status)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def values(rows):
    return {(row["metric"], row["split"]): row["value"] for row in rows}


def test_same_choice_and_accuracies_as_scikit_learn(digits):
    X, y = digits
    scores = {}
    for C in GRID:
        reference = make_pipeline(StandardScaler(), LinearSVC(C=C, dual=True, tol=1e-8, max_iter=100_000))
        reference.fit(X[PARTS["train"]], y[PARTS["train"]])
        scores[C] = {split: reference.score(X[part], y[part]) for split, part in PARTS.items()}
    best = max(GRID, key=lambda C: (scores[C]["val"], -C))
    found = values(svm.evaluate(make(X, y), {"C": GRID}, seed=0))
    assert found["chosen_C", "val"] == best
    for split in store.SPLITS:
        assert found["accuracy", split] == pytest.approx(scores[best][split])


def test_rows(digits):
    X, y = digits
    rows = svm.evaluate(make(X, y), {"C": GRID}, seed=0)
    assert [(row["metric"], row["split"]) for row in rows] == [
        ("accuracy", "train"),
        ("accuracy", "val"),
        ("accuracy", "test"),
        ("chosen_C", "val"),
    ]
    commonest = np.bincount(y[PARTS["train"]]) == np.bincount(y[PARTS["train"]]).max()
    for row in rows[:3]:
        part = PARTS[row["split"]]
        assert list(row) == evaluators.COLUMNS
        assert row["low"] < row["value"] < row["high"] or row["value"] == row["high"] == 1
        assert row["chance"] == 0.1
        share = [np.mean(y[part] == c) for c in np.flatnonzero(commonest)]
        assert row["majority"] == pytest.approx(np.mean(share))
        assert (row["k"], row["n"], row["status"]) == (None, part.stop - part.start, "ok")
    assert rows[3]["chance"] is rows[3]["majority"] is None
    assert np.isnan([rows[3]["low"], rows[3]["high"]]).all()


def test_smallest_c_wins_ties():
    rng = np.random.default_rng(0)
    y = np.arange(560) % 2
    X = np.where(y, 5.0, -5.0)[:, None] + rng.normal(size=(560, 3))
    found = values(svm.evaluate(make(X, y, classes=2), {"C": [1e-2, 1e-4, 1e-3]}, seed=0))
    assert found["accuracy", "val"] == 1.0
    assert found["chosen_C", "val"] == 1e-4


def test_test_is_not_seen_before_c_is_chosen(digits, monkeypatch):
    X, y = digits
    embeddings = make(X, y)
    blind = store.Embeddings(
        {split: embeddings.splits[split] for split in ("train", "val")}, embeddings.layers, embeddings.classes
    )
    _, solution = svm._fit(blind, GRID)
    seen = []
    correct = svm._correct
    monkeypatch.setattr(svm, "_correct", lambda e, split, *rest: seen.append(split) or correct(e, split, *rest))
    assert values(svm.evaluate(embeddings, {"C": GRID}, seed=0))["chosen_C", "val"] == solution.C
    assert seen == ["val"] * len(GRID) + ["train", "val", "test"]


def test_order_of_val_and_test_does_not_matter(digits):
    X, y = digits
    embeddings = make(X, y)
    rng = np.random.default_rng(0)
    splits = dict(embeddings.splits)
    for split in ("val", "test"):
        part, order = splits[split], rng.permutation(len(splits[split].ids))
        splits[split] = store.EmbeddingSplit(part.features[order], part.labels[order], part.ids[order])
    other = store.Embeddings(splits, embeddings.layers, embeddings.classes)
    assert svm.evaluate(other, {"C": GRID}, seed=0)[:3] == svm.evaluate(embeddings, {"C": GRID}, seed=0)[:3]


def test_scale_shift_and_constant_columns_do_not_matter(digits):
    X, y = digits
    plain = values(svm.evaluate(make(X, y), {"C": [1e-3]}, seed=0))
    moved = values(svm.evaluate(make(X * 64 - 512, y), {"C": [1e-3]}, seed=0))
    constant = np.column_stack([X, np.full(len(X), 0.1), np.zeros(len(X))])
    constant[PARTS["test"], -2:] += 3.0  # constant on train, and so nothing to learn from
    padded = values(svm.evaluate(make(constant, y), {"C": [1e-3]}, seed=0))
    assert plain == moved == padded


def test_standardised_on_train_alone(digits):
    X, y = digits
    scaler, _ = svm._fit(make(X, y), [1e-3])
    np.testing.assert_allclose(scaler.mean_, X[PARTS["train"]].mean(axis=0), rtol=1e-6)


def test_unconverged_is_a_status(digits, monkeypatch):
    X, y = digits
    monkeypatch.setattr(linear_svm, "NEWTON_STEPS", 0)
    rows = svm.evaluate(make(X, y), {"C": GRID}, seed=0)
    assert len(rows) == 4
    for row in rows:
        assert row["status"] == "not converged"
        assert np.isnan([row["value"], row["low"], row["high"]]).all()


def test_failed_training_gives_the_same_rows_without_values(digits):
    X, y = digits
    expected = svm.evaluate(make(X, y), {"C": GRID}, seed=0)
    rows = svm.evaluate(make(np.zeros((560, 0)), y[:560], status="diverged"), {"C": GRID}, seed=0)
    for row, other in zip(rows, expected, strict=True):
        assert np.isnan([row["value"], row["low"], row["high"]]).all()
        assert row["status"] == "diverged"
        for key in ("metric", "split", "k", "n", "chance", "majority"):
            assert row[key] == other[key]


def test_bad_input(digits):
    X, y = digits
    labels = y.copy()
    labels[PARTS["test"]] = -1
    with pytest.raises(UserError, match="labels are missing for 160 of 160 images of split 'test'"):
        svm.evaluate(make(X, labels), {"C": GRID}, seed=0)
    labels = y.copy()
    labels[PARTS["train"]] = 4
    with pytest.raises(UserError, match="one class"):
        svm.evaluate(make(X, labels), {"C": GRID}, seed=0)


def test_evaluate_writes_csv(digits, tmp_path, monkeypatch):
    X, y = digits
    embeddings = make(X, y)
    monkeypatch.setattr(store, "read_embeddings", lambda path: embeddings)
    evaluators.evaluate("svm", "embeddings.h5", {"C": GRID}, 0, tmp_path / "svm.csv")
    table = pd.read_csv(tmp_path / "svm.csv")
    assert list(table) == evaluators.COLUMNS
    assert table["k"].isna().all()
    assert table["value"].tolist() == [row["value"] for row in svm.evaluate(embeddings, {"C": GRID}, seed=0)]


def test_options_are_declared_as_literals():
    assert registry.declared("evaluators", "svm")["OPTIONS"]["C"]["default"] == [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
