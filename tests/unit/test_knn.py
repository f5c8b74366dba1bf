import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from visrec import evaluators, registry, store
from visrec.errors import UserError
from visrec.evaluators import knn

SIZES = {"train": 24, "val": 9, "test": 7}


def make(features, labels, classes=3, status="ok"):
    """Embeddings from features and labels by split; an image's id does not depend on its row."""
    splits = {
        split: store.EmbeddingSplit(
            np.asarray(features[split], np.float32),
            np.asarray(labels[split]),
            np.array([f"{split}-{i}" for i in range(len(labels[split]))]),
        )
        for split in store.SPLITS
    }
    width = splits["train"].features.shape[1]
    return store.Embeddings(splits, {"all": slice(0, width)}, [str(c) for c in range(classes)], status)


def grid_like(seed=0):
    """Few distinct points, so that duplicates and ties abound, also between images and the query itself."""
    rng = np.random.default_rng(seed)
    features = {split: rng.integers(0, 3, (n, 2)) for split, n in SIZES.items()}
    labels = {split: rng.integers(0, 3, n) for split, n in SIZES.items()}
    return make(features, labels)


def value(rows, metric, split, k):
    (row,) = [row for row in rows if (row["metric"], row["split"], row["k"]) == (metric, split, k)]
    return row


def brute(embeddings, split, k):
    """Mean precision and accuracy with plain loops, averaged over every order of exactly tied images."""
    queries, gallery = embeddings.splits[split], embeddings.splits["train"]
    precisions, accuracies = [], []
    for query, label, own in zip(queries.features, queries.labels, queries.ids, strict=True):
        others = [
            (float(((query.astype(float) - row) ** 2).sum()), int(other))
            for row, other, image in zip(gallery.features.astype(float), gallery.labels, gallery.ids, strict=True)
            if image != own
        ]
        kth = sorted(others)[k - 1][0]
        sure = [other for distance, other in others if distance < kth]
        tied = [other for distance, other in others if distance == kth]
        precision, accuracy = [], []
        for drawn in itertools.combinations(tied, k - len(sure)):
            votes = np.bincount([*sure, *drawn], minlength=3)
            precision.append(votes[label] / k)
            accuracy.append((votes[label] == votes.max()) / (votes == votes.max()).sum())
        precisions.append(np.mean(precision))
        accuracies.append(np.mean(accuracy))
    return np.mean(precisions), np.mean(accuracies)


@pytest.mark.parametrize("split", store.SPLITS)
def test_equals_brute_force_over_all_orders_of_ties(split):
    embeddings = grid_like()
    rows = knn.evaluate(embeddings, {"k": [1, 3, 5]}, seed=0)
    for k in (1, 3, 5):
        precision, accuracy = brute(embeddings, split, k)
        assert value(rows, "precision", split, k)["value"] == pytest.approx(precision)
        assert value(rows, "accuracy", split, k)["value"] == pytest.approx(accuracy)


def test_a_duplicate_counts_but_the_query_itself_does_not():
    # Four pairs of identical images: the nearest of each is its twin, of the same class in two pairs of four.
    features = np.repeat([[0.0], [10.0], [20.0], [30.0]], 2, axis=0)
    labels = {"train": [0, 0, 1, 1, 0, 1, 1, 0], "val": [0], "test": [1]}
    rows = knn.evaluate(make({"train": features, "val": [[0.0]], "test": [[10.0]]}, labels, 2), {"k": [1]}, seed=0)
    assert value(rows, "precision", "train", 1)["value"] == 0.5
    assert value(rows, "precision", "test", 1)["value"] == 1.0


def test_self_is_known_by_id_and_not_by_row(monkeypatch):
    embeddings = grid_like()
    train = embeddings.splits["train"]
    seen = []
    tiles = knn.neighbours.tiles
    monkeypatch.setattr(knn.neighbours, "tiles", lambda *a: seen.append(a[3]) or tiles(*a))
    # The same image (by id) asked from another split is left out too, though its row differs.
    moved = store.EmbeddingSplit(train.features[[5, 2]], train.labels[[5, 2]], train.ids[[5, 2]])
    splits = {**embeddings.splits, "val": moved}
    knn.evaluate(store.Embeddings(splits, embeddings.layers, embeddings.classes), {"k": [1]}, seed=0)
    assert seen[1].tolist() == [5, 2]
    assert set(seen[2]) == {-1}


@pytest.fixture(scope="module")
def digits():
    """Real images; a random projection keeps distances from tying."""
    X, y = load_digits(return_X_y=True)
    X = X @ np.random.default_rng(0).normal(size=(64, 20))
    parts = {"train": slice(0, 300), "val": slice(300, 360), "test": slice(360, 420)}
    return make({s: X[p] for s, p in parts.items()}, {s: y[p] for s, p in parts.items()}, classes=10)


def test_self_counted_precision_is_one_plus_two_p_over_three(digits):
    train = digits.splits["train"]
    rows = knn.evaluate(digits, {"k": [2, 3]}, seed=0)
    p = value(rows, "precision", "train", 2)["value"]
    counted = value(rows, "precision_self_counted", "train", 3)
    assert counted["value"] == pytest.approx((1 + 2 * p) / 3, abs=1e-12)
    # And that is what comes out when the query is left in the gallery.
    found = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(train.features).kneighbors(return_distance=False)
    inside = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(train.features).kneighbors(train.features)[1]
    assert (inside[:, 0] == np.arange(300)).all()
    hits = train.labels[inside] == train.labels[:, None]
    assert counted["value"] == pytest.approx(hits.mean(), abs=1e-12)
    without = (train.labels[found] == train.labels[:, None]).mean()
    assert value(rows, "precision", "train", 3)["value"] == pytest.approx(without, abs=1e-12)
    assert counted["chance"] == pytest.approx((1 + 2 * value(rows, "precision", "train", 2)["chance"]) / 3)


def test_random_labels_score_chance(digits):
    rng = np.random.default_rng(0)
    shares = [0.4] + [0.6 / 9] * 9
    labels = {split: rng.choice(10, size=len(part.labels), p=shares) for split, part in digits.splits.items()}
    features = {split: part.features for split, part in digits.splits.items()}
    rows = knn.evaluate(make(features, labels, 10), {"k": [1, 5]}, seed=0)
    for metric, k in itertools.product(["precision", "accuracy"], [1, 5]):
        row = value(rows, metric, "train", k)
        assert row["value"] == pytest.approx(row["chance"], abs=0.06)


def test_rows_are_complete_and_plausible(digits):
    rows = knn.evaluate(digits, {"k": [3, 1]}, seed=0)
    assert len(rows) == 3 * 2 * 2 + 2
    counts = np.bincount(digits.splits["train"].labels)
    for row in rows:
        assert list(row) == evaluators.COLUMNS
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["n"] == len(digits.splits[row["split"]].ids)
        assert (row["majority"] is None) == (row["metric"] != "accuracy")
        assert row["status"] == "ok"
    assert value(rows, "precision", "train", 3)["chance"] == pytest.approx(counts @ (counts - 1) / (300 * 299))
    assert value(rows, "precision", "test", 3)["chance"] == value(rows, "precision", "test", 1)["chance"]
    assert value(rows, "precision_self_counted", "train", 1)["value"] == 1.0
    majority = (digits.splits["test"].labels == counts.argmax()).mean()
    assert value(rows, "accuracy", "test", 1)["majority"] == pytest.approx(majority)


def test_order_of_rows_does_not_matter():
    embeddings = grid_like()
    rng = np.random.default_rng(1)
    shuffled = {}
    for split, part in embeddings.splits.items():
        order = rng.permutation(len(part.ids))
        shuffled[split] = store.EmbeddingSplit(part.features[order], part.labels[order], part.ids[order])
    other = store.Embeddings(shuffled, embeddings.layers, embeddings.classes)
    assert knn.evaluate(embeddings, {"k": [1, 3]}, seed=0) == knn.evaluate(other, {"k": [1, 3]}, seed=0)


def test_failed_training_gives_the_same_rows_without_values():
    fine = grid_like()
    empty = {split: np.zeros((n, 0)) for split, n in SIZES.items()}
    labels = {split: part.labels for split, part in fine.splits.items()}
    rows = knn.evaluate(make(empty, labels, status="collapsed"), {"k": [1, 3]}, seed=0)
    expected = knn.evaluate(fine, {"k": [1, 3]}, seed=0)
    measured = ("value", "low", "high")
    for row, other in zip(rows, expected, strict=True):
        assert np.isnan([row[key] for key in measured]).all()
        assert {key: row[key] for key in row if key not in measured} == {
            **{key: other[key] for key in other if key not in measured},
            "status": "collapsed",
        }


def test_bad_input():
    embeddings = grid_like()
    with pytest.raises(UserError, match="k = 24"):
        knn.evaluate(embeddings, {"k": [1, 24]}, seed=0)
    labels = {split: part.labels.copy() for split, part in embeddings.splits.items()}
    features = {split: part.features for split, part in embeddings.splits.items()}
    labels["val"][:2] = -1
    with pytest.raises(UserError, match="labels are missing for 2 of 9 images of split 'val'"):
        knn.evaluate(make(features, labels), {"k": [1]}, seed=0)
    labels["val"], features["val"] = np.zeros(0, int), np.zeros((0, 2))
    with pytest.raises(UserError, match="'val' has no images"):
        knn.evaluate(make(features, labels), {"k": [1]}, seed=0)


def test_options_are_declared_as_literals():
    declared = registry.declared("evaluators", "knn")
    assert declared["OPTIONS"]["k"]["default"] == [1, 3, 5, 10]
    assert declared["HEADLINE_K"] == 3


@pytest.mark.parametrize("status", ["ok", "diverged"])
def test_evaluate_writes_csv(tmp_path, status):
    embeddings = grid_like()
    sources = {
        split: store.ImageSource([np.zeros((len(part.ids), 3, 1, 1), np.uint8)], part.labels, part.ids)
        for split, part in embeddings.splits.items()
    }
    store.write_images(tmp_path / "images.h5", store.ImageSet(sources, ["a", "b", "c"], "", ""), 1)
    batches = {split: [{"all": part.features}] for split, part in embeddings.splits.items()}
    store.write_embeddings(tmp_path / "e.h5", tmp_path / "images.h5", batches, spec={}, status=status)
    evaluators.evaluate("knn", tmp_path / "e.h5", {"k": [1, 3]}, 0, tmp_path / "knn.csv")
    lines = (tmp_path / "knn.csv").read_text().splitlines()
    assert lines[0] == "metric,split,k,value,low,high,n,chance,majority,status"
    assert lines[2].startswith("precision,train,3,")
    table = pd.read_csv(tmp_path / "knn.csv")
    assert (table["status"] == status).all()
    if status == "ok":
        rows = knn.evaluate(embeddings, {"k": [1, 3]}, seed=0)
        assert table["value"].tolist() == [row["value"] for row in rows]  # to the last digit
        assert table["k"].tolist() == [row["k"] for row in rows]
    else:
        assert table[["value", "low", "high"]].isna().all(axis=None)
