"""Precision of each class and what is recommended for which, from query scores made by hand."""

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture

from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.data.query_scores import write_query_scores
from visrec.report.class_section import classes
from visrec.report.per_class import CLASSES, CONFUSION, confusion, per_class

NAMES = ["cat", "dog", "none of it"]
TRAIN = [0, 0, 0, 1]  # classes of the training images
QUERIES = {"t3": 1, "t1": 0, "t2": 0, "t4": 0}
SCORES = {"t1": 1.0, "t2": 0.5, "t3": 0.0, "t4": 0.75}
LISTS = {"t2": [0, 3, 1], "t1": [2, 0, 1], "t3": [0, 1, 3]}  # t4 has none


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of two seeds of one encoder; the second has other lists and lower scores."""
    results = tmp_path_factory.mktemp("classes")
    seeds = [fixture.trial("random", {"latent": 1}, seed=seed) for seed in (0, 1)]
    images = results / "digits/16px/images.h5"
    labels = {"train": TRAIN, "val": [0], "test": list(QUERIES.values())}
    names = {"train": ["a", "b", "c", "d"], "val": ["v"], "test": list(QUERIES)}
    parts = {
        split: ImageSource([np.zeros((len(own), 3, 16, 16), np.uint8)], np.array(own), np.array(names[split]))
        for split, own in labels.items()
    }
    write_images(images, ImageSet(parts, NAMES, "by hand", "by hand"), 16)
    key = {"protocol": "visrec", "metric": "precision", "split": "test", "k": 2, "distance": "l2", "features": "raw"}
    key |= {"average": "micro", "duplicates": "kept"}
    ids = np.array(list(QUERIES))
    for number, trial in enumerate(seeds):
        (results / trial.folder).mkdir(parents=True)
        own = np.array([[9.0] * 4, [SCORES[name] - 0.25 * number * (QUERIES[name] == 0) for name in ids]])
        found = np.array(list(LISTS.values()))[:, ::-1] if number else np.array(list(LISTS.values()))
        write_query_scores(
            results / trial.folder / "knn.h5",
            {"test": (ids, np.array(list(QUERIES.values())))},
            {"test": [key | {"k": 1}, key]},
            {"test": own},
            (np.array(list(LISTS)), found),
        )
    return fixture.experiment(results, seeds, ["knn"])


def test_precision_of_each_class_is_the_mean_over_its_queries_and_over_seeds(made):
    rows = per_class(made, made.trials[:1], 2)
    assert list(rows[0]) == [*CLASSES[:4], "class", "k", "queries", "chance", "precision", "low", "high"]
    assert [(row["class"], row["queries"], row["precision"]) for row in rows] == [("cat", 3, 0.75), ("dog", 1, 0.0)]
    assert [row["chance"] for row in rows] == [0.75, 0.25]
    assert rows[0]["low"] == 0.5 and rows[0]["high"] == 1.0  # three queries: 1 of 27 draws is all the least
    assert rows[1]["low"] == rows[1]["high"] == 0.0
    assert per_class(made, made.trials, 2)[0]["precision"] == pytest.approx((0.75 + 0.5) / 2)
    assert per_class(made, made.trials, 3) == per_class(made, [], 2) == []


def test_confusion_is_of_the_lists_that_were_kept(made):
    rows = confusion(made, made.trials[:1], 2)
    assert [(row["class"], row["recommended"], row["queries"], row["share"]) for row in rows] == [
        ("cat", "cat", 2, 0.75),  # t1: c, a; t2: a, d
        ("cat", "dog", 2, 0.25),
        ("dog", "cat", 1, 1.0),
    ]
    both = confusion(made, made.trials, 2)  # the other way round t1: b, a; t2: b, d; t3: d, b
    assert {(row["class"], row["recommended"]): row["share"] for row in both} == {
        ("cat", "cat"): 0.75, ("cat", "dog"): 0.25, ("dog", "cat"): 0.75, ("dog", "dog"): 0.25,
    }  # fmt: skip
    assert {row["k"] for row in confusion(made, made.trials, 9)} == {3}
    assert confusion(made, [], 2) == []


def tables(encoders, names):
    rows = [
        dict.fromkeys(CLASSES, "") | {"encoder": encoder, "class": name, "queries": 5, "k": 3, "chance": 0.1}
        | {"precision": number / 10, "low": number / 10 - 0.05, "high": number / 10 + 0.05}
        for encoder in encoders
        for number, name in enumerate(names)
    ]  # fmt: skip
    pairs = [
        dict.fromkeys(CONFUSION, "") | {"encoder": encoder, "queries": 5, "k": 3}
        | {"class": names[0], "recommended": other, "share": share}
        for encoder in encoders
        for other, share in zip(names, (0.7, 0.296, 0.004), strict=False)
    ]  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(pairs)


def test_the_section_shows_the_best_and_a_baseline_the_least_precise_class_first():
    found = classes(*tables(["age", "pixels", "random"], ["b", "a", "c"]), ["age", "random", "pixels"], ["a", "b", "c"])
    assert found["encoders"] == ["age", "pixels"]
    assert [line["name"] for line in found["lines"]] == ["b", "a", "c"]
    assert found["lines"][2]["cells"][0] == {"value": "20.0\N{NO-BREAK SPACE}%", "span": "[15.0, 25.0]"}
    confused = found["confused"][0]
    assert confused["columns"] == ["a", "b", "c"]
    assert [[cell["text"] for cell in line["cells"]] for line in confused["matrix"]] == [
        ["", "", ""], ["30", "70", "<1"], ["", "", ""],
    ]  # fmt: skip
    assert [cell["own"] for cell in confused["matrix"][1]["cells"]] == [False, True, False]


def test_many_classes_are_a_list_of_the_most_confused():
    names = [f"class {number}" for number in range(30)]
    found = classes(*tables(["pixels", "random"], names), ["pixels", "random"], names)
    assert found["encoders"] == ["pixels", "random"]
    assert found["folded"]
    assert found["confused"][0]["matrix"] == []
    assert [(pair["name"], pair["other"]) for pair in found["confused"][0]["pairs"]] == [
        ("class 0", "class 1"), ("class 0", "class 2"),
    ]  # fmt: skip


def test_without_scores_there_is_no_section():
    rows, pairs = tables(["age"], ["a"])
    assert classes(rows[:0], pairs[:0], ["age"], ["a"]) is None
    alone = classes(rows, pairs[:0], ["age"], ["a"])
    assert alone["encoders"] == ["age"]
    assert alone["confused"][0]["matrix"] == []
