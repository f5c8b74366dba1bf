from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from visrec import evaluators
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.data.hdf5 import SPLITS
from visrec.errors import UserError
from visrec.evaluators import few_labels

CPU = torch.device("cpu")
PARTS = {"train": slice(0, 400), "val": slice(400, 600), "test": slice(600, 900)}
OPTIONS = {"labels": 100, "shots": 5, "draws": 3, "C": [1e-3, 1e-2]}


def make(order=None, status="ok"):
    X, y = load_digits(return_X_y=True)
    splits = {}
    for split, part in PARTS.items():
        rows = np.arange(part.start, part.stop)
        rows = rows if order is None else np.random.default_rng(order).permutation(rows)
        splits[split] = EmbeddingSplit(X[rows].astype(np.float32), y[rows], np.array([f"{i:04d}" for i in rows]))
    return Embeddings(splits, {"all": slice(0, 64)}, [str(c) for c in range(10)], status)


def run(embeddings, **changed):
    rows = evaluators.rows(few_labels.evaluate(embeddings, OPTIONS | changed, 0, CPU), embeddings)
    return {(row["protocol"], row["metric"]): row for row in rows}


def test_equals_scikit_learn_on_the_same_draws(monkeypatch):
    embeddings, drawn = make(), {"ali": [], "mteb": []}
    for protocol, name in (("ali", "_some"), ("mteb", "_shots")):
        choose = getattr(few_labels, name)
        monkeypatch.setattr(
            few_labels, name,
            lambda split, count, random, choose=choose, protocol=protocol: (
                drawn[protocol].append(choose(split, count, random)) or drawn[protocol][-1]
            ),
        )  # fmt: skip
    rows = run(embeddings)
    train, val, test = (embeddings.splits[split] for split in SPLITS)
    scaler = StandardScaler().fit(train.features.astype(float))  # on all of train: its images are there
    X, asked, held = (scaler.transform(split.features) for split in (train, test, val))
    assert drawn["ali"][0].tolist() == list(range(200))  # all of val is held out
    ali, mteb = [], []
    for chosen in drawn["ali"][1:4]:
        assert len(chosen) == len(set(chosen)) == 100
        models = [LinearSVC(C=C, tol=1e-8, max_iter=100_000).fit(X[chosen], train.labels[chosen]) for C in (1e-3, 1e-2)]
        best = max(models, key=lambda model: (model.score(held, val.labels), -model.C))
        ali.append(best.score(asked, test.labels))
    for chosen in drawn["mteb"]:
        assert np.bincount(train.labels[chosen]).tolist() == [5] * 10
        model = LogisticRegression(max_iter=100).fit(train.features[chosen], train.labels[chosen])
        mteb.append(model.score(test.features, test.labels))
    assert (len(ali), len(mteb)) == (3, 5)
    for protocol, found in (("ali", ali), ("mteb", mteb)):
        row = rows[protocol, "accuracy"]
        assert row["value"] == pytest.approx(np.mean(found))
        low, high = stats.t.interval(0.95, len(found) - 1, np.mean(found), stats.sem(found))
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(min(high, 1)))
        assert rows[protocol, "accuracy_sd"]["value"] == pytest.approx(np.std(found, ddof=1))
        assert (row["n"], row["chance"], row["split"], row["status"]) == (
            len(found), 0.1, "test", "ok",
        )  # fmt: skip


def test_c_is_chosen_on_val_and_not_on_test():
    """Labels of val are those that a weak SVM gives them, those of test a strong one's."""
    embeddings = make()
    train = embeddings.splits["train"]
    C = [1e-6, 1e-1]
    scaler = StandardScaler().fit(train.features.astype(float))
    models = [LinearSVC(C=each, tol=1e-8, max_iter=100_000) for each in C]
    weak, strong = (model.fit(scaler.transform(train.features), train.labels) for model in models)
    splits = dict(embeddings.splits)
    for split, model in (("val", weak), ("test", strong)):
        splits[split] = replace(splits[split], labels=model.predict(scaler.transform(splits[split].features)))
    embeddings = replace(embeddings, splits=splits)
    found = [run(embeddings, labels=400, draws=2, C=each)["ali", "accuracy"]["value"] for each in (C, C[:1], C[1:])]
    assert found[0] == found[1] < found[2]


def test_draws_that_are_all_the_same_have_no_interval():
    mean, low, high, sd = few_labels._summary(np.full(5, 1 / 3))
    assert (mean, sd) == (pytest.approx(1 / 3), 0)
    assert np.isnan([low, high]).all()


def test_draws_depend_on_ids_and_not_on_rows():
    one, two = run(make()), run(make(order=5))
    for key, row in one.items():
        assert row["value"] == pytest.approx(two[key]["value"], abs=1e-12)


def test_small_classes_give_all_they_have():
    embeddings = make()
    rows = few_labels._shots(embeddings.splits["train"], 1000, np.random.default_rng(0))
    assert rows.tolist() == list(range(400))


def test_too_few_images_is_a_status():
    rows = run(make(), labels=401)
    for metric in ("accuracy", "accuracy_sd"):
        assert rows["ali", metric]["status"] == few_labels.TOO_FEW
        assert np.isnan(rows["ali", metric]["value"])
        assert rows["mteb", metric]["status"] == "ok"


def test_failed_training_gives_the_same_rows_without_values():
    rows, expected = run(make(status="collapsed")), run(make())
    assert list(rows) == list(expected)
    for key, row in rows.items():
        assert row["status"] == "collapsed"
        assert np.isnan([row["value"], row["low"], row["high"]]).all()
        assert (row["n"], row["chance"], row["majority"]) == tuple(
            expected[key][name] for name in ("n", "chance", "majority")
        )


def relabelled(train, others=0):
    """The digits as two classes: `train` of the training images are of class 1, and so many of val and of test."""
    embeddings = make()
    splits = {}
    for split, part in embeddings.splits.items():
        labels = (np.arange(len(part.ids)) < (train if split == "train" else others)).astype(np.int64)
        splits[split] = EmbeddingSplit(part.features, labels, part.ids)
    return Embeddings(splits, embeddings.layers, ["no", "yes"])


def test_one_class_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="the training images are all of one class, 'no': any answer would be right; "):
        run(relabelled(0))


def test_a_draw_of_one_class_has_a_score():
    rows = run(relabelled(1, 1), labels=10, shots=5)
    assert rows["ali", "accuracy"]["status"] == "ok"
    assert rows["ali", "accuracy"]["value"] >= 0.99  # 299 of 300 are the only class that was drawn


def test_queries_of_one_class_are_pointed_out(caplog):
    run(relabelled(200, 0))
    assert "the images of test are all of class 'no': to answer that always is right" in caplog.text
