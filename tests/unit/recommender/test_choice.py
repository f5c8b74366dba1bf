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


@pytest.fixture
def choose(tmp_path):
    """The choice after a leaderboard with rows (encoder, trial, status, three scores on validation)."""

    def given(*rows, dataset="a"):
        with (tmp_path / "leaderboard.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["dataset", "size", "k", "encoder", "trial", "status", *choice.MEASURES])
            writer.writerows(["a", 32, 3, *row] for row in rows)
        return choice.choose(tmp_path / "leaderboard.csv", TRIALS, dataset, 32)

    return given


def test_the_best_on_validation(choose):
    rows = [("pixels", "seed~0", "ok", 0.5, 0.9, ""), ("age", "two", "ok", 0.6125, 0.1, "")]
    assert choose(*rows) == ("age/two", "the best on validation, with precision@3 61.3 %")


def test_of_equals_the_first_of_the_config_not_of_the_leaderboard(choose):
    """The leaderboard is in the order of test."""
    assert choose(("pca", "seed~0", "ok", 0.6, 1, 1), ("pixels", "seed~0", "ok", 0.6, 0, 0))[0] == "pixels/seed~0"


def test_another_measure_where_k_nn_was_not_run(choose):
    rows = [("pixels", "seed~0", "ok", "", "", 0.3), ("pca", "seed~0", "ok", "", "", 0.4)]
    assert choose(*rows) == ("pca/seed~0", "the best on validation, with accuracy of a linear SVM 40.0 %")


def test_what_failed_or_embeds_nothing_new_is_not_taken(choose):
    rows = [("precomputed", "seed~0", "ok", 0.9, "", ""), ("age", "one", "collapsed", "", "", "")]
    assert choose(*rows, ("pca", "seed~0", "ok", 0.2, "", ""))[0] == "pca/seed~0"
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


def test_without_a_leaderboard(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: is not there; let `snakemake` make it, or name a trial"):
        choice.choose(tmp_path / "none.csv", TRIALS, "a", 32)


def test_an_unstable_training_may_be_chosen_and_a_collapsed_one_may_not(choose):
    rows = [("age", "one", "collapsed", 0.9, 0.9, ""), ("age", "two", "unstable", 0.6, 0.1, "")]
    assert choose(*rows)[0] == "age/two"
