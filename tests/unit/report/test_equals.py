"""What is equal, and the cheapest of it."""

import math

import pytest

from visrec.report.equals import cheapest, cost, equal_to

PAIRS = [
    {"metric": "precision", "a": "age", "b": "pca", "word": "not resolved"},
    {"metric": "precision", "a": "pixels", "b": "age", "word": "identical"},
    {"metric": "precision", "a": "age", "b": "random", "word": "better"},
    {"metric": "precision", "a": "simclr", "b": "age", "word": "better"},
    {"metric": "map_at_r", "a": "age", "b": "random", "word": "not resolved"},
]
PAIRS = [row | {"difference": 0.0, "low": 0.0, "high": 0.0} for row in PAIRS]


def test_equal_is_what_has_no_measurable_difference():
    every = ["random", "pixels", "simclr", "pca", "age", "vae"]  # vae was not compared
    assert equal_to("age", every, PAIRS) == ["pixels", "pca", "age"]
    assert equal_to("age", every, PAIRS, "map_at_r") == ["random", "age"]
    assert equal_to("vae", every, PAIRS) == ["vae"]


@pytest.mark.parametrize(
    ("costs", "first"),
    [
        ({"a": (3.0, 10), "b": (2.0, 1)}, "b"),
        ({"a": (0.0, 10), "b": (0.0, 20)}, "b"),  # of no training, the faster
        ({"a": (0.0, math.nan), "b": (0.0, 1)}, "b"),
        ({"a": (math.nan, 99), "b": (1e6, 1)}, "b"),  # not measured comes last
        ({"a": (None, 5), "b": (None, 5)}, "a"),
    ],
)
def test_the_cheapest(costs, first):
    rows = {name: {"cost_seconds": s, "embed_images_per_second": v} for name, (s, v) in costs.items()}
    assert cheapest(rows, rows) == first


def test_cost_in_words():
    assert cost({"cost_seconds": 0.0}, None) == "no training"
    assert cost({"cost_seconds": 200.0}, "train").replace("\N{NO-BREAK SPACE}", " ") == "3 min 20 s of training"
    assert cost({"cost_seconds": math.nan}, "fit") == "fitting not measured"
