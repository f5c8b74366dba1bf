import math

import pytest
import report_evidence as evidence
import report_fixture as fixture

from visrec.report import score_tables

ENCODERS = ["pca", "age", "pixels", "random"]


def rows(failed=(), attributes=()):
    trials = [one for one in fixture.standard_trials() if one.name in ("seed~0", "lambda_z~500+mu_x~10+seed~0")]
    failed = {(one.encoder, one.name) for one in trials if one.encoder in failed}
    table = evidence.scores(trials, failed, attributes)
    return score_tables.of_chosen(table, {one.encoder: one.name for one in trials})


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_only_the_chosen_trial_counts():
    table = evidence.scores(fixture.standard_trials())
    found = score_tables.of_chosen(table, {"age": "lambda_z~500+mu_x~10+seed~0"})
    assert {row["trial"] for row in found["age"]} == {"lambda_z~500+mu_x~10+seed~0"}
    assert {type(row["k"]) for row in found["age"]} == {int, type(None)}


def test_pick_finds_the_headline_and_nothing_else():
    own = {encoder: part[::-1] for encoder, part in rows().items()}  # the headline's is not the first
    found = score_tables.pick(own, "knn", "precision", 3)["age"]
    # cosine, whitened, macro, dropped duplicates and six protocols have a precision@3, too
    assert (found["value"], found["distance"], found["features"]) == (0.61, "l2", "raw")
    assert (found["average"], found["duplicates"], found["protocol"]) == ("micro", "kept", "visrec")
    assert score_tables.pick(own, "knn", "precision", 4)["age"] is None
    assert score_tables.pick(own, "knn", "precision", 3, average="macro")["age"]["value"] == pytest.approx(0.57)


def test_a_cell_has_value_interval_and_lift():
    one = {"value": 0.61, "low": 0.59, "high": 0.634, "lift": 0.5667, "status": "ok"}
    text = score_tables.cell(one)
    assert [plain(text[key]) for key in ("value", "span", "lift")] == ["61.0 %", "[59.0, 63.4]", "lift 56.7 %"]
    assert plain(score_tables.cell(one | {"lift": -0.05})["lift"]) == "lift −5.0 %"
    assert plain(score_tables.cell(one | {"lift": -0.0004})["lift"]) == "lift 0.0 %"
    assert score_tables.cell(one | {"low": math.nan, "high": math.nan})["span"] == ""
    assert score_tables.cell(one, score_tables.decimal, lifted=False) == {
        **{"value": "0.61", "span": "[0.59, 0.63]", "lift": "", "note": "", "flag": ""}
    }


def test_a_cell_says_why_there_is_no_value():
    none = {"value": math.nan, "low": math.nan, "high": math.nan, "lift": math.nan, "status": "collapsed"}
    assert (score_tables.cell(none)["value"], score_tables.cell(none)["note"]) == ("–", "collapsed")
    assert (score_tables.cell(None)["value"], score_tables.cell(None)["note"]) == ("–", "")
