"""What the leaderboard's rows say and what its filters offer."""

import math

from visrec.experiment.trials import Trial
from visrec.report import leaderboard


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def row(encoder, **more):
    about = {"encoder": encoder, "k": 3, "seeds": 1, "n_seeds": 1, "settings": 1, "chosen_by": "", "setting": ""}
    for name, value in (("precision", 0.5), ("knn_accuracy", 0.6), ("svm_accuracy", 0.7)):
        about |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        about |= {f"{name}_chance": 0.1, f"{name}_lift": (value - 0.1) / 0.9}
    about |= {"majority": 0.2, "cost_seconds": 200.0, "embed_images_per_second": 12345.6, "peak_memory_mb": 1500.2}
    return about | {"peak_gpu_memory_mb": math.nan, "reconstruction_error": math.nan} | more


def shown(board, stages=None, disclosed=None):
    return leaderboard.rows(board, [], {one["encoder"]: "train" for one in board} | (stages or {}), disclosed or {})


def test_costs_are_words_with_their_unit_apart():
    (one,) = shown([row("age")])
    assert plain(one["cost"]) == "3 min 20 s"
    assert [plain(part) for part in one["speed"]] == ["12,346", " img/s"]
    assert [plain(part) for part in one["memory"]] == ["1,500", " MB"]
    assert one["gpu"] == ""


def test_what_was_not_measured_says_so_and_what_needs_no_training_costs_none():
    nan = dict.fromkeys(("cost_seconds", "embed_images_per_second", "peak_memory_mb"), math.nan)
    (one,) = shown([row("age", **nan)])
    assert (one["cost"], one["speed"], one["memory"]) == ("not measured", ("not measured", ""), ("not measured", ""))
    (other,) = shown([row("pixels", cost_seconds=0.0)], {"pixels": None})
    assert other["cost"] == "none"


def test_gpu_memory_is_shown_where_one_was_used():
    assert plain(shown([row("age", peak_gpu_memory_mb=2048.0)])[0]["gpu"]) == "GPU 2,048 MB"
    assert shown([row("age", peak_gpu_memory_mb=0.0)])[0]["gpu"] == ""


def test_an_error_of_reconstructions_is_noted_where_there_is_one():
    assert shown([row("pca")])[0]["notes"] == []
    assert shown([row("age", reconstruction_error=0.17)])[0]["notes"] == ["reconstruction error on validation 0.170"]


def test_lift_below_chance_has_a_minus():
    (one,) = shown([row("age", precision_lift=-0.021)])
    assert plain(one["lift"]) == "−2.1 %"


def chapter(dataset, size, *encoders):
    return {"dataset": dataset, "size": size, "rows": [{"encoder": encoder} for encoder in encoders]}


def test_filters_are_offered_where_there_is_something_to_choose():
    one = leaderboard.filters([chapter("digits", 32, "age", "random", "pixels")])
    assert one == {"datasets": [], "sizes": [], "encoders": []}
    chapters = [chapter("svhn", 64, "age", "pca"), chapter("svhn", 32, "age", "pixels"), chapter("cifar10", 32, "age")]
    several = leaderboard.filters(chapters)
    assert several == {"datasets": ["svhn", "cifar10"], "sizes": [32, 64], "encoders": ["age", "pca"]}


def test_references_are_those_that_no_filter_hides():
    assert [one["reference"] for one in shown([row("age"), row("random"), row("pixels")])] == [False, True, True]


def test_a_tie_is_a_difference_from_the_best_that_is_not_resolved():
    board = [row("age"), row("pca", precision=0.6), row("pixels"), row("random", precision=math.nan)]
    about = {"metric": "precision", "b": "pca", "difference": -0.1, "low": -0.2, "high": 0.0}
    pairs = [about | {"a": "age", "word": "not resolved"}, about | {"a": "pixels", "word": "worse"}]
    found = leaderboard.rows(board, pairs, {one["encoder"]: "train" for one in board})
    assert {one["encoder"]: (one["best"], one["tie"]) for one in found} == {
        "pca": (True, False), "age": (False, True), "pixels": (False, False), "random": (False, False)
    }  # fmt: skip


def test_what_saw_labels_is_marked():
    rows = shown([row("supcon"), row("age")], disclosed={"supcon": "trained with labels"})
    assert {one["encoder"]: one["disclosed"] for one in rows} == {"supcon": "trained with labels", "age": ""}


def test_groups_by_what_encoders_have_learned_from():
    names = ("age", "supcon", "pretrained", "precomputed", "pixels", "age_labels")
    trials = [Trial("a", 32, name, {}, 0, "seed~0") for name in names]
    assert leaderboard.groups(trials) == {
        leaderboard.NO_LABELS: ["age", "pixels"],
        leaderboard.LABELS: ["supcon", "age_labels"],
        leaderboard.OTHERS: ["pretrained", "precomputed"],
    }
    assert list(leaderboard.groups(trials[:1])) == [leaderboard.NO_LABELS]


def test_the_plot_says_where_its_axis_begins_and_where_chance_is():
    two = [row("a", precision=0.9, precision_low=0.83, precision_high=0.97), row("b", precision=0.85)]
    plot = leaderboard.magnified(two, 0.1)  # b from 0.4 to 0.6, as `row` has it
    assert (plot["low"], plot["high"], plot["cut"], plot["chance"]) == (
        "40\N{NO-BREAK SPACE}%",
        "98\N{NO-BREAK SPACE}%",
        True,
        None,
    )
    assert leaderboard.magnified(two, 0.69)["chance"] == 50.0
    low = [row("a", precision=0.02, precision_low=0.01, precision_high=0.03), row("b", precision_low=0.0)]
    assert (leaderboard.magnified(low, 0.0)["cut"], leaderboard.magnified(low, math.nan)["chance"]) == (False, None)
    assert leaderboard.magnified(two[:1], 0.1) is None
