import hashlib
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from scipy.stats import skew
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from visrec import evaluators
from visrec.data import duplicates
from visrec.data.embeddings import Embeddings, EmbeddingSplit, write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.data.query_scores import read_lists, read_query_scores
from visrec.errors import UserError
from visrec.evaluators import knn
from visrec.experiment import registry
from visrec.scoring import neighbours

SIZES = {"train": 24, "val": 9, "test": 7}
CPU = torch.device("cpu")


def make(features, labels, classes=3, status="ok"):
    """Embeddings from features and labels by split; an image's id does not depend on its row."""
    splits = {
        split: EmbeddingSplit(
            np.asarray(features[split], np.float32),
            np.asarray(labels[split]),
            np.array([f"{split}-{i}" for i in range(len(labels[split]))]),
        )
        for split in SPLITS
    }
    width = splits["train"].features.shape[1]
    return Embeddings(splits, {"all": slice(0, width)}, [str(c) for c in range(classes)], status)


def grid_like(seed=0):
    """Few distinct points, so that duplicates and ties abound, also between images and the query itself."""
    rng = np.random.default_rng(seed)
    features = {split: rng.integers(0, 3, (n, 2)) for split, n in SIZES.items()}
    labels = {split: rng.integers(0, 3, n) for split, n in SIZES.items()}
    return make(features, labels)


def run(embeddings, ks, features=("raw",), distances=("l2",), train_queries=0):
    options = {"k": list(ks), "features": list(features), "distances": list(distances)}
    options["train_queries"] = train_queries
    return evaluators.rows(knn.evaluate(embeddings, options, 0, CPU), embeddings)


def value(rows, metric, split, k=None, **more):
    """The one row of the headline with these keys, or of what `more` says."""
    wanted = {"protocol": "visrec", "average": "micro", "duplicates": "kept", "features": "raw", "distance": "l2"}
    wanted |= {"metric": metric, "split": split, "k": k} | more
    (row,) = [row for row in rows if all(row[key] == wanted[key] for key in wanted)]
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


@pytest.mark.parametrize("split", SPLITS)
def test_equals_brute_force_over_all_orders_of_ties(split):
    embeddings = grid_like()
    rows = run(embeddings, [1, 3, 5])
    for k in (1, 3, 5):
        precision, accuracy = brute(embeddings, split, k)
        assert value(rows, "precision", split, k)["value"] == pytest.approx(precision)
        assert value(rows, "accuracy", split, k)["value"] == pytest.approx(accuracy)


def test_a_duplicate_counts_but_the_query_itself_does_not():
    # Four pairs of identical images: the nearest of each is its twin, of the same class in two pairs of four.
    features = np.repeat([[0.0], [10.0], [20.0], [30.0]], 2, axis=0)
    labels = {"train": [0, 0, 1, 1, 0, 1, 1, 0], "val": [0], "test": [1]}
    rows = run(make({"train": features, "val": [[0.0]], "test": [[10.0]]}, labels, 2), [1])
    assert value(rows, "precision", "train", 1)["value"] == 0.5
    assert value(rows, "precision", "test", 1)["value"] == 1.0


def test_self_is_known_by_id_and_not_by_row():
    embeddings = make(
        {"train": [[0.0], [5.0], [5.0], [9.0]], "val": [[5.0], [9.0]], "test": [[0.0]]},
        {"train": [0, 1, 0, 1], "val": [0, 1], "test": [0]},
        2,
    )
    # The same pictures (by id) asked from another split are left out too, though their rows differ.
    val = replace(embeddings.splits["val"], ids=np.array(["train-2", "train-3"]))
    rows = run(replace(embeddings, splits=embeddings.splits | {"val": val}), [1])
    # train-2's nearest is then its twin of class 1; train-3's are the twins, one of each class.
    assert value(rows, "precision", "val", 1)["value"] == (0 + 0.5) / 2


@pytest.fixture(scope="module")
def digits():
    """Real images; a random projection keeps distances from tying."""
    X, y = load_digits(return_X_y=True)
    X = X @ np.random.default_rng(0).normal(size=(64, 20))
    parts = {"train": slice(0, 300), "val": slice(300, 360), "test": slice(360, 420)}
    return make({s: X[p] for s, p in parts.items()}, {s: y[p] for s, p in parts.items()}, classes=10)


def test_self_counted_precision_is_one_plus_two_p_over_three(digits):
    train = digits.splits["train"]
    rows = run(digits, [2, 3])
    p = value(rows, "precision", "train", 2)["value"]
    counted = value(rows, "precision", "train", 3, protocol="paper")
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
    rows = run(make(features, labels, 10), [1, 5])
    for metric, k in itertools.product(["precision", "accuracy"], [1, 5]):
        row = value(rows, metric, "train", k)
        assert row["value"] == pytest.approx(row["chance"], abs=0.06)


def test_rows_are_complete_and_plausible(digits):
    rows = run(digits, [3, 1])
    counts = np.bincount(digits.splits["train"].labels)
    for row in rows:
        assert list(row) == evaluators.COLUMNS
        assert row["n"] == len(digits.splits[row["split"]].ids)
        if row["metric"] in ("coverage", "gini", "hubness"):
            assert np.isnan([row["low"], row["high"]]).all()
            assert np.isfinite([row["value"], row["chance"]]).all()
        elif row["status"] == "ok":
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert (row["majority"] is None) == (row["metric"] not in ("accuracy", "accuracy_weighted"))
        assert (row["chance"] is None) == (row["metric"] == "diversity")
    keys = [tuple(row[key] for key in evaluators.KEYS) for row in rows]
    assert len(set(keys)) == len(keys)
    per_k = {"precision", "accuracy", "hit", "accuracy_weighted", "coverage", "gini", "hubness"}
    for split, k in itertools.product(["val", "test"], [1, 3]):
        assert {row["metric"] for row in rows if row["split"] == split and row["k"] == k} >= per_k
    assert value(rows, "precision", "train", 3)["chance"] == pytest.approx(counts @ (counts - 1) / (300 * 299))
    assert value(rows, "precision", "test", 3)["chance"] == value(rows, "precision", "test", 1)["chance"]
    majority = (digits.splits["test"].labels == counts.argmax()).mean()
    assert value(rows, "accuracy", "test", 1)["majority"] == pytest.approx(majority)
    assert value(rows, "accuracy", "test", 1, average="macro")["majority"] == pytest.approx(0.1)


def scikit_learns(digits, **more):
    """Test accuracy of scikit-learn's k-NN."""
    train, test = digits.splits["train"], digits.splits["test"]
    model = KNeighborsClassifier(algorithm="brute", **more).fit(train.features, train.labels)
    return (model.predict(test.features) == test.labels).mean()


def test_weighted_votes_equal_scikit_learns(digits):
    rows = run(digits, [5], distances=["l2", "cosine"])
    for distance, metric in (("l2", "euclidean"), ("cosine", "cosine")):
        expected = scikit_learns(digits, n_neighbors=5, metric=metric, weights="distance")
        row = value(rows, "accuracy_weighted", "test", 5, distance=distance)
        assert row["value"] == pytest.approx(expected, abs=1e-12)


def test_protocols_equal_their_definitions_in_scikit_learn(digits):
    rows = run(digits, [1], distances=["l2", "cosine"])
    for name, k, temperature in (("dino", 10, 0.07), ("dino", 200, 0.07), ("lightly", 200, 0.1)):
        weights = partial(lambda d, t: np.exp((1 - d) / t), t=temperature)
        expected = scikit_learns(digits, n_neighbors=k, metric="cosine", weights=weights)
        row = value(rows, "accuracy_weighted", "test", k, protocol=name, distance="cosine")
        assert row["value"] == pytest.approx(expected, abs=1e-12)
    # Plain votes tie; scikit-learn gives a tie to the lowest class, so they are equal up to the share of ties.
    for name, k, metric, distance in (("w-mse", 5, "euclidean", "l2"), ("dkobak", 10, "cosine", "cosine")):
        expected = scikit_learns(digits, n_neighbors=k, metric=metric)
        row = value(rows, "accuracy", "test", k, protocol=name, distance=distance)
        assert row["value"] == pytest.approx(expected, abs=0.03)
    for metric, k in (("precision", 1), ("r_precision", None), ("map_at_r", None)):
        assert value(rows, metric, "test", k, protocol="pml")["value"] == value(rows, metric, "test", k)["value"]
    for metric in ("precision", "accuracy"):
        three = run(digits, [3])
        row = value(rows, metric, "train", 3, protocol="leave-one-out")
        assert row["value"] == value(three, metric, "train", 3)["value"]


def test_a_protocol_with_more_neighbours_than_images_says_so():
    rows = run(grid_like(), [1], distances=["cosine"])
    row = value(rows, "accuracy_weighted", "test", 200, protocol="dino", distance="cosine")
    assert row["status"] == knn.TOO_FEW
    assert np.isnan(row["value"])
    assert row["chance"] is row["majority"] is None
    assert value(rows, "accuracy_weighted", "test", 20, protocol="dino", distance="cosine")["status"] == "ok"


def test_a_protocol_may_have_as_many_neighbours_as_images():
    labels = {"train": np.arange(200) % 3, "val": np.arange(4) % 3, "test": np.arange(4) % 3}
    rng = np.random.default_rng(0)
    drawn = {split: rng.normal(size=(len(y), 2)) for split, y in labels.items()}
    rows = run(make(drawn, labels), [1], distances=["cosine"])
    rows = [row for row in rows if row["protocol"] in ("dino", "lightly") and row["k"] == 200]
    assert {(row["split"], row["status"]) for row in rows} == {("test", "ok")}
    assert all(0 < row["chance"] < 1 for row in rows)


def test_ranking_metrics_equal_pytorch_metric_learnings(digits):
    rows = run(digits, [1])
    train, test = digits.splits["train"], digits.splits["test"]
    knn_func = CustomKNN(LpDistance(normalize_embeddings=False))
    names = ("mean_average_precision_at_r", "r_precision")
    calculator = AccuracyCalculator(include=names, k=len(train.ids), knn_func=knn_func)
    arrays = (torch.from_numpy(each) for each in (test.features, test.labels, train.features, train.labels))
    expected = calculator.get_accuracy(*arrays)
    assert value(rows, "r_precision", "test")["value"] == pytest.approx(expected["r_precision"], abs=1e-6)
    assert value(rows, "map_at_r", "test")["value"] == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-6)


def test_macro_is_the_mean_over_classes(digits):
    options = {"k": [3], "features": ["raw"], "distances": ["l2"], "train_queries": 0}
    scores = knn.evaluate(digits, options, 0, CPU)
    keys = {"metric": "precision", "split": "test", "average": "micro", "protocol": "visrec", "duplicates": "kept"}
    (micro,) = [score for score in scores if score.key() | keys == score.key()]
    labels = digits.splits["test"].labels
    expected = np.mean([micro.queries[labels == c].mean() for c in np.unique(labels)])
    assert value(run(digits, [3]), "precision", "test", 3, average="macro")["value"] == pytest.approx(expected)


def test_near_duplicates_are_dropped_from_the_gallery():
    features = {"train": [[0.0], [1.0], [2.0], [50.0]], "val": [[50.0]], "test": [[0.1], [49.0]]}
    labels = {"train": [0, 1, 0, 1], "val": [1], "test": [0, 1]}
    # test 0 is nearly train 0: without that, its nearest is train 1, of another class.
    pairs = np.array([(0, 0, 2, 0, 0.99), (0, 1, 0, 2, 0.99)], dtype=duplicates.PAIR)
    embeddings = replace(make(features, labels, 2), duplicates=pairs)
    rows = run(embeddings, [1])
    assert value(rows, "precision", "test", 1)["value"] == 1.0
    assert value(rows, "precision", "test", 1, duplicates="dropped")["value"] == 0.5
    # In train a query finds neither its copy nor itself: 0 finds 1, 1 finds 0 and 3 finds 2, all wrong; 2 finds 0.
    assert value(rows, "precision", "train", 1, duplicates="dropped")["value"] == 0.25
    # A picture of which all others are copies has no score without them.
    same = np.array([(0, 0, 2, 0, 1.0), (0, 0, 0, 1, 1.0), (0, 0, 0, 2, 1.0), (0, 0, 0, 3, 1.0)], duplicates.PAIR)
    rows = run(replace(embeddings, duplicates=same), [1])
    row = value(rows, "precision", "test", 1, duplicates="dropped")
    assert (row["value"], row["n"]) == (1.0, 1)
    row = value(rows, "precision", "train", 1, duplicates="dropped")
    assert np.isnan(row["value"])
    assert row["n"] == 0


def test_attributes_and_identities():
    features = {"train": [[0.0], [1.0], [2.0], [9.0]], "val": [[0.0]], "test": [[0.1], [8.0]]}
    labels = {"train": [0, 0, 1, 1], "val": [0], "test": [0, 1]}
    embeddings = make(features, labels, 2)
    about = {  # (young, bald) and who it is
        "train": ([[1, 0], [1, 1], [0, 0], [0, 1]], [7, 8, 7, 9]),
        "val": ([[1, 0]], [7]),
        "test": ([[1, 0], [1, 1]], [7, 9]),
    }
    splits = {
        split: replace(part, attributes=np.array(about[split][0], np.uint8), identity=np.array(about[split][1]))
        for split, part in embeddings.splits.items()
    }
    rows = run(replace(embeddings, splits=splits, attributes=["young", "bald"]), [2])
    # Neighbours of test 0 are train 0 and 1, both young; of test 1 train 3 and 2, neither young, one bald.
    young, bald = (value(rows, f"precision of {name}", "test", 2) for name in ("young", "bald"))
    assert (young["value"], young["n"], young["chance"]) == (0.5, 2, 0.5)
    assert (bald["value"], bald["n"], bald["chance"]) == (0.5, 1, 0.5)
    assert value(rows, "attribute_precision", "test", 2, average="macro")["value"] == 0.5
    # Gains: test 0 finds 1 and 1/2, the best there are; test 1 finds 1/2 and 0, where 1 and 1/2 were to be had.
    second = 1 / np.log2(3)
    expected = (1 + 0.5 / (1 + 0.5 * second)) / 2
    assert value(rows, "ndcg", "test", 2)["value"] == pytest.approx(expected)
    identity = value(rows, "identity_precision", "test", 2)
    assert (identity["value"], identity["chance"]) == ((0.5 + 0.5) / 2, (2 / 4 + 1 / 4) / 2)


def test_votes_weigh_one_over_the_distance():
    """One of class 1 at distance 1, two of class 0 at 3/2: 2/3 + 2/3 > 1, but 4/9 + 4/9 < 1."""
    features = {"train": [[1.0, 0], [0, 1.5], [0, -1.5], [50, 50]], "val": [[0.0, 0]], "test": [[0.0, 0]]}
    rows = run(make(features, {"train": [1, 0, 0, 1], "val": [0], "test": [0]}, 2), [3])
    assert value(rows, "accuracy_weighted", "test", 3)["value"] == 1


@pytest.mark.parametrize("cosine, right", [(0.62, 1), (0.56, 0)])
def test_votes_in_cosine_weigh_one_over_one_less_the_cosine(cosine, right):
    """1 / 0.2 for class 1 against 2 / 0.38 for class 0, which is more, or 2 / 0.44, which is less."""
    two = [[cosine, sign * (1 - cosine**2) ** 0.5] for sign in (1, -1)]
    features = {"train": [[0.8, 0.6], *two, [-1.0, 0]], "val": [[1.0, 0]], "test": [[1.0, 0]]}
    embeddings = make(features, {"train": [1, 0, 0, 1], "val": [0], "test": [0]}, 2)
    rows = run(embeddings, [3], distances=["cosine"])
    assert value(rows, "accuracy_weighted", "test", 3, distance="cosine")["value"] == right


def test_hits_of_an_identity_by_hand():
    # To all, train 1 and 2 are equally far: to query 0 farther than train 0, to query 1 nearest. Nobody else is a 9.
    features = {"train": [[0.0], [2.0], [2.0], [9.0]], "val": [[9.0]], "test": [[0.5], [2.0], [0.5]]}
    embeddings = make(features, {"train": [0, 0, 1, 1], "val": [0], "test": [0, 1, 1]}, 2)
    people = {"train": [5, 6, 7, 7], "val": [5], "test": [6, 7, 9]}
    splits = {split: replace(part, identity=np.array(people[split])) for split, part in embeddings.splits.items()}
    rows = run(replace(embeddings, splits=splits), [1, 2, 3], ["raw"], ["l2", "cosine"])
    expected = {  # value and chance: of 4 pictures one is a 6, two are a 7
        1: ((0 + 1 / 2 + 0) / 3, (1 / 4 + 2 / 4 + 0) / 3),
        2: ((1 / 2 + 1 + 0) / 3, (2 / 4 + (1 - 1 / 6) + 0) / 3),
        3: ((1 + 1 + 0) / 3, (3 / 4 + 1 + 0) / 3),
    }
    for k, (score, chance) in expected.items():
        row = value(rows, "identity_hit", "test", k)
        assert (row["value"], row["chance"], row["n"]) == (pytest.approx(score), pytest.approx(chance), 3)
    precision = value(rows, "identity_precision", "test", 2)
    assert precision["value"] == pytest.approx((1 / 4 + 1 / 2 + 0) / 3)
    # In every space, never on train, and never without near duplicates.
    found = [row for row in rows if row["metric"] == "identity_hit"]
    assert {(row["split"], row["distance"]) for row in found} == {
        (s, d) for s in ("val", "test") for d in ("l2", "cosine")
    }
    assert {row["duplicates"] for row in found} == {"kept"}


def test_health_by_hand():
    # Both queries get train 0; nobody gets the others.
    features = {"train": [[0.0], [9.0], [20.0], [30.0]], "val": [[1.0], [2.0]], "test": [[1.0], [1.0]]}
    rows = run(make(features, {"train": [0, 1, 0, 1], "val": [0, 1], "test": [0, 1]}, 2), [1])
    coverage, gini = (value(rows, name, "test", 1) for name in ("coverage", "gini"))
    assert coverage["value"] == 0.25
    assert coverage["chance"] == pytest.approx(1 - (3 / 4) ** 2)
    assert gini["value"] == pytest.approx(0.75)
    assert value(rows, "hubness", "test", 1)["value"] == pytest.approx(skew([2, 0, 0, 0]))


def test_each_space_has_its_own_rows(digits):
    rows = run(digits, [3], knn.OPTIONS["features"]["default"], ["l2", "cosine"])
    spaces = {(row["features"], row["distance"]) for row in rows}
    # `blocks` and `output` are left out: there is one layer.
    assert spaces == {(f, d) for f in ("raw", "standardised", "whitened") for d in ("l2", "cosine")}
    train, test = digits.splits["train"], digits.splits["test"]
    scaler = StandardScaler().fit(train.features)
    model = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(scaler.transform(train.features))
    hits = train.labels[model.kneighbors(scaler.transform(test.features))[1]] == test.labels[:, None]
    row = value(rows, "precision", "test", 3, features="standardised")
    assert row["value"] == pytest.approx(hits.mean(), abs=1e-12)


def test_some_training_images_ask_among_all_others(digits):
    rows = run(digits, [3], train_queries=40)
    train = digits.splits["train"]
    first = sorted(range(len(train.ids)), key=lambda row: hashlib.sha256(train.ids[row].encode()).hexdigest())[:40]
    squared = ((train.features[first, None].astype(float) - train.features) ** 2).sum(axis=2)
    squared[np.arange(40), first] = np.inf
    right = train.labels[np.argsort(squared, axis=1)[:, :3]] == train.labels[first, None]
    row = value(rows, "precision", "train", 3)
    assert (row["value"], row["n"]) == (pytest.approx(right.mean(), abs=1e-12), 40)
    counts = np.bincount(train.labels)
    assert row["chance"] == pytest.approx(np.mean((counts[train.labels[first]] - 1) / (len(train.ids) - 1)))
    commonest = [np.mean(train.labels[first] == one) for one in np.flatnonzero(counts == counts.max())]
    assert value(rows, "accuracy", "train", 3)["majority"] == pytest.approx(np.mean(commonest))
    assert value(rows, "precision", "test", 3) == value(run(digits, [3]), "precision", "test", 3)
    assert value(run(digits, [3], train_queries=10**9), "precision", "train", 3)["n"] == len(train.ids)


def test_the_output_is_scored_alone_where_there_are_layers_before_it():
    rng = np.random.default_rng(0)
    labels = {split: np.arange(n) % 3 for split, n in SIZES.items()}
    # A wide layer that says nothing, and an output that is the class.
    features = {split: np.c_[100 * rng.normal(size=(len(y), 8)), y] for split, y in labels.items()}
    whole = make(features, labels)
    rows = run(replace(whole, layers={"hidden": slice(0, 8), "output": slice(8, 9)}), [3], ["raw", "output"])
    assert value(rows, "precision", "test", 3, features="output")["value"] == 1
    assert value(rows, "precision", "test", 3)["value"] < 0.5
    assert {row["features"] for row in run(whole, [3], ["raw", "output"])} == {"raw"}


def test_constant_features_score_chance():
    rng = np.random.default_rng(0)
    labels = {split: rng.integers(0, 3, n) for split, n in SIZES.items()}
    rows = run(make({split: np.ones((n, 2)) for split, n in SIZES.items()}, labels), [1, 3], ["raw"], ["l2", "cosine"])
    measured = [row for row in rows if row["status"] == "ok" and row["duplicates"] == "kept"]
    for row in measured:
        if row["metric"] in ("precision", "hit", "accuracy", "r_precision", "map_at_r", "mrr"):
            assert row["value"] == pytest.approx(row["chance"])


def test_a_class_with_nothing_in_train_has_no_ranking_score():
    features = {"train": [[0.0], [1.0], [2.0]], "val": [[0.0]], "test": [[0.0], [1.0]]}
    rows = run(make(features, {"train": [0, 0, 1], "val": [0], "test": [0, 2]}), [1])
    row = value(rows, "r_precision", "test")
    assert (row["value"], row["n"]) == (1.0, 1)
    assert value(rows, "precision", "test", 1)["n"] == 2


def test_order_of_rows_does_not_matter():
    embeddings = grid_like()
    rng = np.random.default_rng(1)
    shuffled = {}
    for split, part in embeddings.splits.items():
        order = rng.permutation(len(part.ids))
        shuffled[split] = EmbeddingSplit(part.features[order], part.labels[order], part.ids[order])
    other = Embeddings(shuffled, embeddings.layers, embeddings.classes)
    one, two = (pd.DataFrame(run(each, [1, 3])) for each in (embeddings, other))
    # Sums over the gallery round as they are added; all else is the same to the last bit.
    summed = one["metric"].isin(["diversity", "coverage", "gini", "hubness"])
    pd.testing.assert_frame_equal(one[~summed], two[~summed], check_exact=True)
    pd.testing.assert_frame_equal(one[summed], two[summed], rtol=1e-12)


def test_failed_training_gives_the_same_rows_without_values():
    fine = grid_like()
    empty = {split: np.zeros((n, 0)) for split, n in SIZES.items()}
    labels = {split: part.labels for split, part in fine.splits.items()}
    rows, expected = run(make(empty, labels, status="collapsed"), [1, 3]), run(fine, [1, 3])
    known = (*evaluators.KEYS, "majority", "n")
    for row, other in zip(rows, expected, strict=True):
        assert np.isnan([row[key] for key in ("value", "low", "high")]).all()
        assert row["status"] == "collapsed"
        assert [row[key] for key in known] == [other[key] for key in known]


def test_bad_input():
    embeddings = grid_like()
    with pytest.raises(UserError, match="k = 24"):
        run(embeddings, [1, 24])
    labels = {split: part.labels.copy() for split, part in embeddings.splits.items()}
    features = {split: part.features for split, part in embeddings.splits.items()}
    labels["val"][:2] = -1
    with pytest.raises(UserError, match="labels are missing for 2 of 9 images of split 'val'"):
        run(make(features, labels), [1])
    labels["val"], features["val"] = np.zeros(0, int), np.zeros((0, 2))
    with pytest.raises(UserError, match="'val' has no images"):
        run(make(features, labels), [1])


def test_options_are_declared_as_literals():
    declared = registry.declared("evaluators", "knn")
    assert declared["OPTIONS"]["k"]["default"] == [1, 3, 5, 10]
    assert declared["HEADLINE_K"] == 3


@pytest.mark.parametrize("status", ["ok", "diverged"])
def test_evaluate_writes_csv(tmp_path, status):
    embeddings = grid_like()
    sources = {
        split: ImageSource([np.zeros((len(part.ids), 3, 1, 1), np.uint8)], part.labels, part.ids)
        for split, part in embeddings.splits.items()
    }
    write_images(tmp_path / "images.h5", ImageSet(sources, ["a", "b", "c"], "", ""), 1)
    batches = {split: [{"all": part.features}] for split, part in embeddings.splits.items()}
    write_embeddings(tmp_path / "e.h5", tmp_path / "images.h5", batches, spec={}, status=status)
    options = {"k": [1, 3], "features": ["raw"], "distances": ["l2"], "train_queries": 0}
    files = tmp_path / "knn.csv", tmp_path / "knn.h5"
    evaluators.evaluate("knn", tmp_path / "e.h5", options, 0, CPU, *files)
    assert files[0].read_text().splitlines()[0] == ",".join(evaluators.COLUMNS)
    table, queries = pd.read_csv(files[0]), read_query_scores(files[1], "test")
    if status == "ok":
        rows = run(embeddings, [1, 3])
        assert np.array_equal(table["value"], [row["value"] for row in rows], equal_nan=True)  # to the last digit
        assert queries.ids.tolist() == sorted(embeddings.splits["test"].ids)
        (at,) = [i for i, row in enumerate(queries.rows) if (row["metric"], row["k"]) == ("hit", 3)]
        assert queries.scores[at].mean() == pytest.approx(value(rows, "hit", "test", 3)["value"])
        labels = dict(zip(embeddings.splits["test"].ids, embeddings.splits["test"].labels, strict=True))
        assert queries.labels.tolist() == [labels[name] for name in queries.ids]
        ids, listed = read_lists(files[1])
        assert set(ids) == set(embeddings.splits["test"].ids)
        assert listed.shape == (7, 10)
    else:
        assert (table["status"] == status).all()
        assert table[["value", "low", "high"]].isna().all(axis=None)
        assert queries.scores.shape == (0, 7)
        assert read_lists(files[1]) is None


def test_features_that_are_not_finite_are_refused():
    embeddings = grid_like()
    embeddings.splits["val"].features[3, 1] = np.nan
    with pytest.raises(UserError, match=r"here: 1 embeddings of val are not finite, the first that of 'val-3'"):
        evaluators.check(embeddings, "here")
    embeddings.splits["val"].features[3] = 3e38  # finite, though the sum of the row is not
    evaluators.check(embeddings, "here")


def test_spaces_that_share_products_score_as_each_alone(monkeypatch):
    """On real features with ties, in layers of unlike lengths; alone, a space is searched on a grid of its own."""
    X, y = load_digits(return_X_y=True)
    X[:, 48:] /= 300
    parts = {"train": slice(0, 900), "val": slice(900, 1200), "test": slice(1200, 1500)}
    pixels = make({s: X[p] for s, p in parts.items()}, {s: y[p] for s, p in parts.items()}, classes=10)
    pixels = replace(pixels, layers={"first": slice(0, 8), "second": slice(8, 48), "output": slice(48, 64)})
    asked = {"features": ["raw", "standardised", "blocks", "whitened", "output"], "distances": ["l2", "cosine"]}
    together = run(pixels, [1, 3, 10], **asked)
    unweighted = lambda space: space.distance == "l2" and set(space.weights) == {1.0}  # noqa: E731
    monkeypatch.setattr(neighbours.Searched, "resolves", lambda searched, queries, space: unweighted(space))
    alone = run(pixels, [1, 3, 10], **asked)
    assert len(together) == len(alone) > 500
    for ours, other in zip(together, alone, strict=True):
        assert {key: ours[key] for key in evaluators.KEYS} == {key: other[key] for key in evaluators.KEYS}
        if ours["features"] == "raw" and ours["distance"] == "l2":
            assert ours["value"] == other["value"]
        elif ours["value"] is not None:
            assert ours["value"] == pytest.approx(other["value"], abs=5e-4)
