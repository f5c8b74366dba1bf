"""Which trial recommends where nobody names one."""

import csv

import pytest

from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.recommender import choice

TRIALS = [
    Trial("a", 32, "pixels", {}, 0, "seed~0"),
    Trial("a", 32, "precomputed", {}, 0, "seed~0"),
    Trial("a", 32, "pca", {}, 0, "seed~0"),
    Trial("a", 32, "age", {}, 0, "one"),
    Trial("a", 32, "age", {}, 0, "two"),
    Trial("b", 32, "age", {}, 0, "one"),
]
COST = {"pixels": (0, 9000), "precomputed": (0, 9000), "pca": (3.76, 4000), "age": (112, 300)}


@pytest.fixture
def choose(tmp_path):
    """The choice after rows (encoder, trial, status, three scores on validation), and pairs (a, b, metric, word)."""

    def given(*rows, pairs=(), dataset="a"):
        with (tmp_path / "leaderboard.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["dataset", "size", "k", "encoder", "trial", "status", *choice.VALIDATED, *choice.COSTS])
            writer.writerows(["a", 32, 3, *row, *COST[row[0]]] for row in rows)
        with (tmp_path / "comparisons.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["dataset", "size", "a", "b", "metric", "word", "difference", "low", "high"])
            writer.writerows(["a", 32, *pair, 0.01, -0.01, 0.03] for pair in pairs)
            writer.writerow(["b", 32, "pixels", "age", "precision", "not resolved", 0, 0, 0])  # of another dataset
        trial, why = choice.choose(tmp_path / "leaderboard.csv", TRIALS, dataset, 32)
        return trial, why.replace("\N{NO-BREAK SPACE}", " ")

    return given


SCORED = [
    ("age", "two", "ok", 0.6125, 0.1, ""),
    ("pca", "seed~0", "ok", 0.6, "", ""),
    ("pixels", "seed~0", "ok", 0.5, 0.9, ""),
]


def test_the_best_on_validation_where_all_others_differ(choose):
    pairs = [("age", "pca", "precision", "better"), ("pixels", "age", "precision", "worse")]
    assert choose(*SCORED, pairs=pairs) == (
        "age/two",
        "the best on validation (precision@3), and on test no other encoder is as good by that measure",
    )
    assert choose(*SCORED)[0] == "age/two"  # what was not compared is not equal


def test_of_those_without_measurable_difference_the_cheapest(choose):
    pairs = [("age", "pca", "precision", "not resolved"), ("pixels", "age", "precision", "worse")]
    assert choose(*SCORED, pairs=[*pairs, ("age", "pixels", "svm_accuracy", "identical")]) == (
        "pca/seed~0",
        "the cheapest (3.8 s of fitting) of age and pca. age is the best on validation, and on test there is no "
        "measurable difference between it and pca (precision@3)",
    )
    pairs = [("pca", "age", "precision", "not resolved"), ("pixels", "age", "precision", "identical")]
    chosen, why = choose(*SCORED, pairs=pairs)
    assert chosen == "pixels/seed~0"
    assert why.startswith("the cheapest (no training) of age, pixels and pca. age is the best on validation")


def test_of_equals_on_validation_the_first_of_the_config_is_the_best(choose):
    """The leaderboard is in the order of test."""
    assert choose(("pca", "seed~0", "ok", 0.6, 1, 1), ("pixels", "seed~0", "ok", 0.6, 0, 0))[0] == "pixels/seed~0"


def test_another_measure_where_k_nn_was_not_run(choose):
    rows = [("pixels", "seed~0", "ok", "", "", 0.3), ("pca", "seed~0", "ok", "", "", 0.4)]
    chosen, why = choose(*rows)
    assert chosen == "pca/seed~0"
    assert "(SVM accuracy)" in why
    assert choose(*rows, pairs=[("pca", "pixels", "precision", "not resolved")])[0] == "pca/seed~0"
    assert choose(*rows, pairs=[("pca", "pixels", "svm_accuracy", "not resolved")])[0] == "pixels/seed~0"


def test_what_failed_or_embeds_nothing_new_is_not_taken(choose):
    rows = [("precomputed", "seed~0", "ok", 0.9, "", ""), ("age", "one", "collapsed", "", "", "")]
    equal = [("precomputed", "pca", "precision", "not resolved"), ("age", "pca", "precision", "not resolved")]
    assert choose(*rows, ("pca", "seed~0", "ok", 0.2, "", ""), pairs=equal)[0] == "pca/seed~0"
    with pytest.raises(UserError, match="no trial of a at 32 px ended well and embeds new pictures"):
        choose(*rows)
    with pytest.raises(UserError, match="no trial of b at 32 px"):
        choose(("pca", "seed~0", "ok", 0.2, "", ""), dataset="b")


def test_without_scores_the_first_trained_encoder_else_the_first(choose):
    rows = [("pixels", "seed~0", "ok", "", "", ""), ("pca", "seed~0", "ok", "", "", "")]
    assert choose(*rows, ("age", "two", "ok", "", "", "")) == (
        "age/two",
        "the first trained encoder of the config, as nothing was scored",
    )
    assert choose(*rows)[0] == "pixels/seed~0"


def test_without_a_table(tmp_path, choose):
    with pytest.raises(UserError, match=r"none\.csv: is not there; let `snakemake` make it, or name a trial"):
        choice.choose(tmp_path / "none.csv", TRIALS, "a", 32)
    choose(*SCORED)
    (tmp_path / "comparisons.csv").unlink()
    with pytest.raises(UserError, match=r"comparisons\.csv: is not there; let `snakemake` make it"):
        choice.choose(tmp_path / "leaderboard.csv", TRIALS, "a", 32)
    (tmp_path / "leaderboard.csv").write_text("encoder,trial\npca,seed~0\n")
    with pytest.raises(UserError, match=r"leaderboard\.csv: is no table of trials"):
        choice.choose(tmp_path / "leaderboard.csv", TRIALS, "a", 32)


def test_an_unstable_training_may_be_chosen_and_a_collapsed_one_may_not(choose):
    rows = [("age", "one", "collapsed", 0.9, 0.9, ""), ("age", "two", "unstable", 0.6, 0.1, "")]
    assert choose(*rows)[0] == "age/two"


def test_the_score_on_test_is_quoted_with_its_interval_and_chance(tmp_path):
    path = tmp_path / "leaderboard.csv"
    head = ["dataset", "size", "encoder", "trial", "k", *choice.SCORES]
    none = [""] * 4
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerow(["a", 32, "pca", "seed~0", 3, 1, 0.9787, 0.9627, 0.992, 0.1, *none, *none])
        writer.writerow(["a", 32, "age", "one", 3, 3, *none, *none, 0.5, 0.4, 0.6, 0.25])
        writer.writerow(["a", 32, "random", "seed~0", 3, 0, *none, *none, *none])
        writer.writerow(["b", 32, "pca", "seed~0", 3, 1, 0.1, 0.1, 0.1, 0.1, *none, *none])

    def said(trial):
        return choice.tested(path, ("a", 32), trial).replace("\N{NO-BREAK SPACE}", " ")

    assert said("pca/seed~0") == "precision@3 97.9 % [96.3, 99.2]; chance is 10.0 %"
    assert said("age/one") == "SVM accuracy 50.0 % [40.0, 60.0], the mean of 3 seeds; chance is 25.0 %"
    assert said("random/seed~0") == said("age/two") == ""  # not scored; not in the leaderboard
    assert choice.tested(tmp_path / "none.csv", ("a", 32), "pca/seed~0") == ""


def test_of_a_trial_that_was_not_chosen_the_score_of_its_own_is_quoted(tmp_path):
    (tmp_path / "leaderboard.csv").write_text(
        f"dataset,size,encoder,trial,k,{','.join(choice.SCORES)}\na,32,age,one,3{',' * len(choice.SCORES)}\n"
    )
    key = ["evaluator", "protocol", "metric", "split", "k", "distance", "features", "average", "duplicates"]
    rows = [
        ["knn", "visrec", "precision", "test", 3, "cosine", "raw", "micro", "kept", 0.1],
        ["knn", "visrec", "precision", "test", 1, "l2", "raw", "micro", "kept", 0.2],
        ["knn", "visrec", "precision", "val", 3, "l2", "raw", "micro", "kept", 0.3],
        ["svm", "visrec", "accuracy", "test", "", "", "standardised", "micro", "kept", 0.9],
        ["knn", "visrec", "precision", "test", 3, "l2", "raw", "micro", "kept", 0.5],
    ]
    with (tmp_path / "scores.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "size", "encoder", "trial", *key, "value", "low", "high", "chance"])
        writer.writerows(["a", 32, "age", "two", *row, row[-1] - 0.01, row[-1] + 0.01, 0.1] for row in rows)
        writer.writerow(["a", 32, "age", "three", *rows[3], 0.89, 0.91, 0.1])

    def said(trial, space=choice.HEADLINE_SPACE):
        return choice.tested(tmp_path / "leaderboard.csv", ("a", 32), trial, space).replace("\N{NO-BREAK SPACE}", " ")

    assert said("age/two") == "precision@3 50.0 % [49.0, 51.0]; chance is 10.0 %"
    assert said("age/three") == "SVM accuracy 90.0 % [89.0, 91.0]; chance is 10.0 %"
    assert said("age/four") == said("age/one") == ""
    assert said("age/two", ("raw", "l2")) == said("age/two")
    assert said("age/two", ("raw", "cosine")) == "precision@3 10.0 % [9.0, 11.0]; chance is 10.0 %"
    assert said("age/two", ("output", "cosine")) == ""  # not measured
