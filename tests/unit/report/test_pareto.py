"""Precision beside cost."""

import math

from visrec.report.pareto import front, pareto


def leader(encoder, precision, seconds, speed, dimensions):
    row = {"encoder": encoder, "precision": precision, "precision_low": precision - 0.01}
    row |= {"precision_high": precision + 0.01, "cost_seconds": seconds, "embed_images_per_second": speed}
    return row | {"dimensions": dimensions}


LEADERS = [
    leader("age", 0.9, 120.0, 500.0, 4416),  # 122 s
    leader("pca", 0.89, 4.0, 10_000.0, 128),  # 4.1 s
    leader("pixels", 0.88, 0.0, 100_000.0, 3072),  # 0.01 s
    leader("random", 0.6, 0.0, 500.0, 4416),  # 2 s
    leader("failed", math.nan, 5.0, 500.0, 64),
]


def test_the_front_by_hand():
    assert front([1, 2, 3, 4], [0.5, 0.4, 0.6, 0.6]) == [True, False, True, False]
    assert front([1, 1], [0.5, 0.5]) == [True, True]  # equal points stand on it together
    assert front([1, 1], [0.5, 0.6]) == [False, True]


def test_cost_is_training_once_and_a_thousand_pictures():
    found = pareto(LEADERS)
    rows = {row["encoder"]: row for row in found["rows"]}
    assert list(rows) == ["age", "pca", "pixels", "random"]
    assert [row["number"] for row in rows.values()] == [1, 2, 3, 4]
    texts = [rows["age"][name].replace("\N{NO-BREAK SPACE}", " ") for name in ("training", "embedding", "dimensions")]
    assert texts == ["2 min 00 s", "2.0 s", "4,416"]
    assert (rows["pixels"]["training"], rows["pixels"]["embedding"]) == ("none", "0.01\N{NO-BREAK SPACE}s")
    assert {name: row["front"] for name, row in rows.items()} == {
        "age": ["time", "dimensions"], "pca": ["time", "dimensions"], "pixels": ["time"], "random": [],
    }  # fmt: skip


def test_the_front_is_drawn_level_and_then_up():
    time, _ = pareto(LEADERS)["charts"]
    points = {point["encoder"]: point for point in time["points"]}
    corners = [tuple(map(float, each.split(","))) for each in time["line"].split()]
    x, y = ({name: points[name][axis] for name in points} for axis in "xy")
    assert [round(each, 1) for corner in corners for each in corner] == [
        round(each, 1)
        for corner in (
            (x["pixels"], 100 - y["pixels"]),
            (x["pca"], 100 - y["pixels"]),
            (x["pca"], 100 - y["pca"]),
            (x["age"], 100 - y["pca"]),
            (x["age"], 100 - y["age"]),
            (100, 100 - y["age"]),
        )
        for each in corner
    ]
    assert x["pixels"] < x["random"] < x["pca"] < x["age"]


def test_nothing_to_show():
    assert pareto(LEADERS[:1]) is None
    assert pareto([LEADERS[0], LEADERS[1] | {"embed_images_per_second": math.nan}]) is None
