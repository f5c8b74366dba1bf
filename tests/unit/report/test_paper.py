"""The seed paper's figures beside ours; scores are those of report_evidence."""

import pytest
import report_evidence as evidence
import report_fixture as fixture

from visrec.report import score_tables
from visrec.report.paper import paper


def chapter(kind="svhn", selection=(), age=True):
    trials = [fixture.trial("pixels", {}), fixture.trial("random", {}), *([fixture.age(500, 10)] if age else [])]
    rows = evidence.scores(trials)
    shown = {one.encoder: one.name for one in trials}
    about = {"kind": kind, "title": f"{kind}, 16 px", "selection": selection}
    return about | {"scores": score_tables.of_chosen(rows, shown), "shown": shown}


def row(found, label, table=0):
    rows = [row for group in found["tables"][table]["groups"] for row in group["rows"]]
    one = next(row for row in rows if row["label"] == label)
    return tuple(each.replace("\N{NO-BREAK SPACE}", " ") for each in (one["own"]["value"], one["honest"]["value"]))


@pytest.mark.parametrize(
    ("label", "own", "honest"),
    [
        ("k-NN precision@3, train", "72.0 %", "58.0 %"),  # (1 + 2 * 0.58) / 3 = 0.72
        ("k-NN precision@3, validation", "61.0 %", "61.0 %"),
        ("SVM on the network’s features, train", "96.0 %", "81.0 %"),
        ("SVM on raw pixels, validation", "80.0 %", "80.0 %"),
        ("untrained network, k-NN precision@3, train", "64.7 %", "47.0 %"),  # (1 + 2 * 0.47) / 3 = 0.6467
        ("chance of k-NN precision@3, train", "40.0 %", "10.0 %"),
        ("always the most common class", "12.0 %", "12.0 %"),
    ],
)
def test_ours_stand_under_both_protocols(label, own, honest):
    assert row(paper([chapter()]), label) == (own, honest)


def test_every_figure_of_the_paper_has_its_row_and_a_reason():
    groups = paper([chapter()])["tables"][0]["groups"]
    printed = [row["paper"] for row in groups[0]["rows"]]
    assert printed == ["43.2 %", "16.2 %", "23.54 %", "19.46 %", "46.49 %", "12.79 %"]
    assert all(row["why"].endswith(".") for group in groups for row in group["rows"])


def test_the_choice_of_lambda_and_mu_is_shown_without_and_with_labels():
    chosen = {"encoder": "age", "selector": "hubness", "trial": "lambda_z~500+mu_x~10+seed~0"}
    chosen |= {"best_trial": "lambda_z~1000+mu_x~50+seed~0", "settings": 4}
    other = chosen | {"encoder": "vae", "trial": "x~1+seed~0"}
    found = paper([chapter(selection=[other, chosen])])
    assert row(found, "lambda and mu") == ("lambda_z 500, mu_x 10", "lambda_z 1000, mu_x 50")


def test_each_choice_of_lambda_and_mu_says_of_which_grid():
    chosen = {"encoder": "age", "selector": "hubness", "settings": 4, "trial": "mu_x~10+seed~0"}
    chosen |= {"best_trial": "mu_x~10+seed~0"}
    for settings, words in ((4, "of 4 settings"), (1, "the only setting")):
        found = paper([chapter(selection=[chosen | {"settings": settings}])])
        one = found["tables"][0]["groups"][0]["rows"][-1]
        assert (one["label"], one["paper"]) == ("lambda and mu", "not reported; of {500, 1000, 2000} × {10, 50}")
        assert (one["own"]["about"], one["honest"]["about"]) == (words, words)


def test_whose_figures_ours_are_is_said_only_of_encoders_that_are_there():
    assert paper([chapter(), chapter("digits")])["ours"] == "age"
    assert paper([chapter(age=False), chapter()])["ours"] == "age"
    assert paper([chapter(age=False)])["ours"] == ""


def test_svhn_comes_first_and_others_are_said_to_be_other_tasks():
    found = paper([chapter("digits"), chapter("svhn")])
    assert [(table["title"], table["same"]) for table in found["tables"]] == [
        ("svhn, 16 px", True), ("digits, 16 px", False),
    ]  # fmt: skip
    assert (found["any_same"], found["all_same"]) == (True, False)


def test_what_was_not_scored_is_a_dash():
    found = paper([chapter("digits", age=False)])
    assert row(found, "k-NN precision@3, train") == ("–", "–")
    assert not found["any_same"]
