"""Sentences below the verdict, from tables made by hand."""

import math

import pytest

from visrec.report.facts import better_spaces, costs, facts, label_free, limits, near_copies

STAGES = {"age": "train", "pca": "fit", "pixels": None}


def leader(encoder, precision, seconds, dimensions, speed=100.0):
    row = {"encoder": encoder, "k": 3, "precision": precision, "precision_low": precision - 0.01}
    row |= {"precision_high": precision + 0.01, "cost_seconds": seconds, "dimensions": dimensions}
    return row | {"embed_images_per_second": speed}


def leaders(*precisions):
    rows = zip(STAGES, precisions, (200.0, 2.0, 0.0), (4416, 128, 3072), strict=True)
    return [leader(*row) for row in rows]


def pairs(words, metric="precision"):
    return [{"a": a, "b": b, "metric": metric, "difference": 0, "low": 0, "high": 0, "word": word}
            for (a, b), word in words.items()]  # fmt: skip


def score(metric, value, features="raw", distance="l2", k=None):
    about = {"evaluator": "knn", "metric": metric, "k": k, "split": "test", "protocol": "visrec", "average": "micro"}
    return about | {"duplicates": "kept", "features": features, "distance": distance, "value": value}


OPEN = pairs({("age", "pca"): "not resolved", ("age", "pixels"): "identical"})


def told(rows, comparisons, scores=None):
    return facts(rows, comparisons, scores or {encoder: [] for encoder in STAGES}, {"age": "trained with labels"})


def price(rows, comparisons):
    return costs(rows, comparisons, STAGES, {"age": "trained with labels"}).replace("\N{NO-BREAK SPACE}", " ")


def test_the_cheapest_and_the_smallest_of_those_that_are_not_measurably_worse():
    own = "age: 3 min 20 s of training, 4,416 values per picture."
    assert price(leaders(0.9, 0.89, 0.89), OPEN) == (
        f"{own} Of those without measurable difference, pixels is cheapest (no training), pca smallest (128 values "
        "per picture)."
    )
    behind = pairs({("age", "pca"): "not resolved", ("age", "pixels"): "better"})
    assert price(leaders(0.9, 0.89, 0.6), behind) == (
        f"{own} Of those without measurable difference, pca is cheapest (2.0 s of fitting) and smallest (128 values "
        "per picture)."
    )
    assert price(leaders(0.9, 0.6, 0.6), pairs({("age", "pca"): "better", ("age", "pixels"): "better"})) == own
    assert price(leaders(math.nan, math.nan, math.nan), []) == ""


def test_where_precision_is_saturated_map_at_r_speaks():
    scores = {"age": [score("map_at_r", 0.5)], "pca": [score("map_at_r", 0.6)], "pixels": [score("map_at_r", 0.55)]}
    more = pairs({("age", "pca"): "worse", ("pca", "pixels"): "not resolved"}, "map_at_r")
    first, *_ = told(leaders(0.98, 0.97, 0.97), OPEN + more, scores)
    assert first.replace("\N{NO-BREAK SPACE}", " ") == (
        "precision@3 is near its ceiling here and tells little apart. By MAP@R, which looks at the whole "
        "ranking, pca is "
        "highest (60.0 %), measurably better than age (trained with labels), with no measurable difference from pixels."
    )
    assert not any("ceiling" in each for each in told(leaders(0.9, 0.8, 0.8), OPEN + more, scores))
    other = pairs({("age", "pca"): "better", ("pca", "pixels"): "not resolved"}, "map_at_r")  # over all seeds
    first, *_ = told(leaders(0.98, 0.97, 0.97), OPEN + other, scores)
    assert first == "precision@3 is near its ceiling here and tells little apart."


def in_spaces(**values):
    kinds = [("raw", "l2"), ("raw", "cosine"), ("whitened", "cosine")]
    return {
        encoder: [score("precision", value, *kind, k=3) for kind, value in zip(kinds, own, strict=True)]
        for encoder, own in values.items()
    }


@pytest.mark.parametrize(
    ("age", "words"),
    [
        ((0.9, 0.9, 0.9), "age (trained with labels) is highest in all 3 spaces"),
        ((0.9, 0.6, 0.9), "of 3, age (trained with labels) in 2 and pca in 1 are highest."),
        ((0.9, math.nan, 0.9), "of 3, age (trained with labels) in 2 and pca in 1 are highest."),
    ],
)
def test_whether_the_order_holds_in_the_other_spaces(age, words):
    scores = in_spaces(age=age, pca=(0.8, 0.8, 0.8), pixels=(0.7, 0.7, 0.7))
    assert any(words in each for each in told(leaders(0.9, 0.8, 0.7), OPEN, scores))


def test_where_the_seed_shown_has_another_best_in_every_space_nothing_is_said():
    scores = in_spaces(age=(0.7, 0.7, 0.7), pca=(0.8, 0.8, 0.8), pixels=(0.6, 0.6, 0.6))
    assert not any("space" in each for each in told(leaders(0.9, 0.8, 0.7), OPEN, scores))


def test_features_of_one_layer_count_as_raw_where_layers_are_picked():
    scores = in_spaces(age=(0.9, 0.9, 0.9), pixels=(0.95, 0.7, 0.7))
    scores["age"].append(score("precision", 0.92, "output", "l2", k=3))
    assert any(
        "of 4, pixels in 2 and age (trained with labels) in 2" in each
        for each in told(leaders(0.9, 0.8, 0.8), OPEN, scores)
    )


def test_one_encoder_has_nothing_beside_it():
    assert facts(leaders(0.9, math.nan, math.nan), [], {}, {}) == []


def test_many_near_copies_are_named():
    assert near_copies({"near": 136}, 250).startswith("136 of 250 test pictures have a near duplicate in train.")
    assert near_copies({"near": 12}, 250) == near_copies(None, 250) == near_copies({"near": 1}, 0) == ""


def test_where_some_saw_labels_the_best_of_the_others_is_named():
    marked = {"age": "trained with labels"}
    says = "Of those that saw neither labels nor pictures of others, {}."
    for first in (0.9, 0.8):
        found = label_free(leaders(first, 0.89, 0.88), [], marked).replace("\N{NO-BREAK SPACE}", " ")
        assert found == says.format("pca is highest, 89.0 %")
    close = [{"metric": "precision", "a": "pixels", "b": "pca", "word": "not resolved"}]
    close[0] |= {"difference": -0.01, "low": -0.02, "high": 0.01}
    found = label_free(leaders(0.9, 0.89, 0.88), close, marked).replace("\N{NO-BREAK SPACE}", " ")
    assert found == says.format("pca is highest, 89.0 %, without a measurable lead over pixels")
    ahead = [close[0] | {"word": "worse"}]
    found = label_free(leaders(0.9, 0.89, 0.88), ahead, marked).replace("\N{NO-BREAK SPACE}", " ")
    assert found == says.format("pca is highest, 89.0 %, measurably above the others")
    assert label_free(leaders(0.8, 0.89, 0.88), [], {}) == label_free([], [], marked) == ""


def in_best(encoder, difference, word, features="whitened"):
    about = {"encoder": encoder, "features": features, "distance": "cosine", "difference": difference, "word": word}
    return about | {"low": difference - 0.01, "high": difference + 0.01}


def test_encoders_that_are_measurably_better_in_another_space():
    rows = [
        in_best("age", 0.03, "better", "output"),
        in_best("pca", 0.02, "not resolved"),
        in_best("vae", 0.04, "better"),
    ]
    board = [
        {"encoder": encoder, "precision": value, "precision_low": value - 0.1, "precision_high": value + 0.1}
        for encoder, value in (("age", 0.5), ("pca", 0.5), ("vae", 0.6), ("ali", 0.4))
    ]
    found = better_spaces(rows, board)
    assert found["says"].replace("\N{NO-BREAK SPACE}", " ") == (
        "Scores here are by features as they are, L2. Measurably better in another space: vae 60.0 % → 64.0 % (+4.0 "
        "points [+3.0, +5.0]; whitened, cosine) and age 50.0 % → 53.0 % (+3.0 points [+2.0, +4.0]; the output alone, "
        "cosine)."
    )
    assert found["config"] == ""  # the recommender has no whitened features
    found = better_spaces([*rows, in_best("ali", 0.05, "better", "output")], board)
    assert found["config"] == "recommend: {features: output, distance: cosine}"
    assert found["says"].endswith("; whitened, cosine); so is 1 more.")
    assert better_spaces(rows[1:2], board) == {"says": "", "config": ""}
    assert "Each in its best" not in better_spaces([in_best("age", 0.12, "better"), *rows[1:]], board)["says"]
    found = better_spaces([in_best("age", 0.15, "better"), *rows[1:]], board)["says"].replace("\N{NO-BREAK SPACE}", " ")
    assert found.endswith(
        " Each in its best space, the order is age 65.0 %, vae 64.0 %; these are not judged in pairs."
    )


def test_of_means_over_datasets_the_range_of_dimensions_is_told():
    rows = leaders(0.9, 0.6, 0.6)
    rows[0]["least_dimensions"] = 1024
    apart = pairs({("age", "pca"): "better", ("age", "pixels"): "better"})
    assert price(rows, apart) == "age: 3 min 20 s of training, 1,024 to 4,416 values per picture."


def test_what_was_said_of_the_best_is_not_said_twice():
    rows = leaders(0.6, 0.9, 0.89)
    said = price(rows, pairs({("age", "pca"): "worse", ("pca", "pixels"): "not resolved"}))
    assert said == (
        "pca: 2.0 s of fitting, 128 values per picture. Of those without measurable difference, pixels is cheapest (no "
        "training), pca smallest."
    )


def test_limits_in_a_few_words():
    rows = [one | {"n_seeds": 1, "status": "ok"} for one in leaders(0.9, 0.8, 0.7)]
    rows.append(leader("vae", 0.6, 1.0, 1) | {"n_seeds": 3, "status": "unstable"})
    more = [*OPEN, *pairs({("pca", "pixels"): "better"})]
    found = [
        each.replace("\N{NO-BREAK SPACE}", " ") for each in limits(rows, ["age", "vae"], more, {"near": 136}, 1250)
    ]
    assert found == [
        "one training run of age",
        "1,250 queries, 11 % with a near copy in train",
        "the training of vae is unstable",
        "3 pairs judged together",
    ]
    few = limits(rows[:3], [], OPEN[:1], {"near": 3}, 26_032)
    assert few[0].replace("\N{NO-BREAK SPACE}", " ") == "26,032 queries, under 1 % with a near copy in train"
    assert limits(rows[:3], ["age"], OPEN[:1], None, 10) == ["one training run per network", "10 queries"]
    assert limits(rows[1:3], [], [], None, 0) == []
