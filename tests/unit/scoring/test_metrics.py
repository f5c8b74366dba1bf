from dataclasses import replace

import numpy as np
import pytest
import torch

from visrec import evaluators
from visrec.data.embeddings import Embeddings, EmbeddingSplit
from visrec.evaluators import knn
from visrec.report import sections
from visrec.scoring import chance, metrics
from visrec.scoring.metrics import METRICS, Metric


def test_chance_by_name():
    gallery = np.array([4, 1, 0])
    assert np.array_equal(metrics.chance("hit", gallery, 2), chance.hit(gallery, 2))
    assert np.array_equal(metrics.chance("mrr", gallery, None, True), chance.mrr(gallery, None, True), equal_nan=True)
    for name in ("ndcg", "nothing"):
        with pytest.raises(ValueError, match=f"no metric '{name}'"):
            metrics.chance(name, gallery)


def test_entries_are_consistent():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert sum(each is not None for each in (metric.class_chance, metric.chance, metric.query_chance)) <= 1
        assert ("{k}" in metric.label) <= metric.per_k
        assert not metric.each or metric.averages == ("macro",)
        assert not metric.pooled or metric.needs == metrics.LISTS
    assert metrics.unbounded() == ["gini", "hubness"]


THROWAWAY = {
    "first": Metric(
        name="first",
        label="class of the nearest, of {k}",
        group="A new group",
        needs=metrics.LABELS,
        score=lambda found, k: (found.queries.labels == 0) / k,
        class_chance=lambda gallery, k, leave_one_out: np.full(len(gallery), 0.25 / k),
        averages=("micro", "macro"),
        without_duplicates=True,
    ),
    "firsts": Metric(
        name="firsts",
        label="firsts of lists of {k}",
        group=metrics.HEALTH,
        needs=metrics.LISTS,
        score=lambda lists: lists.counts.sum() / 100,
        chance=lambda asked, k: 0.125,
        pooled=True,
        decimal=True,
    ),
}


def test_a_new_entry_is_measured_and_on_the_page(monkeypatch):
    for name, metric in THROWAWAY.items():
        monkeypatch.setitem(METRICS, name, metric)
    rng, splits = np.random.default_rng(0), {}
    for split, n in {"train": 20, "val": 5, "test": 4}.items():
        labels, ids = np.arange(n) % 2, np.array([f"{split}-{i}" for i in range(n)])
        splits[split] = EmbeddingSplit(rng.normal(size=(n, 3)).astype(np.float32), labels, ids)
    embeddings = Embeddings(splits, {"all": slice(0, 3)}, ["a", "b"])
    options = {"k": [2, 4], "features": ["raw"], "distances": ["l2", "cosine"], "train_queries": 0}
    rows = evaluators.rows(knn.evaluate(embeddings, options, 0, torch.device("cpu")), embeddings)
    found = {(row["split"], row["distance"], row["k"], row["average"]): row for row in rows if row["metric"] == "first"}
    assert len(found) == 20  # train in one space, val and test in two; by two k and two averages
    assert found["test", "cosine", 4, "macro"]["value"] == (1 / 4 + 0) / 2
    assert found["test", "l2", 2, "micro"]["chance"] == 0.125
    (pooled,) = [row for row in rows if (row["metric"], row["split"], row["k"]) == ("firsts", "test", 4)]
    assert (pooled["value"], pooled["chance"]) == (4 * 4 / 100, 0.125)
    shown = {"mine": [row | {"evaluator": "knn", "lift": 0.1} for row in rows]}
    table, *further = sections.all_scores(shown, ["mine"], 2)
    lines = {row["label"]: row for part in table["groups"] for row in part["rows"] if part["title"] == "A new group"}
    line = lines["class of the nearest, of 2"]
    assert [line["cells"][0]["value"][:4], line["chance"][:4]] == ["25.0", "12.5"]
    assert ["class of the nearest" in str(each["groups"]) for each in further] == [True, True]  # macro, and k = 4
    health = {row["label"]: row for part in sections.health(shown, ["mine"], 4) for row in part["rows"]}
    assert (health["firsts of lists of 4"]["cells"][0]["value"], health["firsts of lists of 4"]["chance"]) == (
        "0.16",
        "0.12",
    )


def test_a_metric_may_do_without_chance(monkeypatch):
    metric = replace(THROWAWAY["first"], class_chance=None)
    asked = knn.Asked(*[EmbeddingSplit(np.zeros((2, 0)), np.array([0, 1]), np.array(["a", "b"]))] * 2, 2, False)
    assert metric.expected(asked, 1, "micro") is None
    assert THROWAWAY["first"].expected(asked, 1, "micro") == 0.25
