"""By how much the best leads, and from which it is told apart."""

import math

import pytest
from test_verdict import pairs

from visrec.report.lead import lead
from visrec.report.verdict import Score


def scores(**values):
    return {encoder: Score(value, value - 0.01, value + 0.01) for encoder, value in values.items()}


def told(values, comparisons, **more):
    found = lead(values, comparisons, **more)
    return found.by.replace("\N{NO-BREAK SPACE}", " "), found.certain


def test_a_lead_that_holds():
    apart = pairs(("age", "pca", 0.01, 0.002, 0.018, "better"), ("pixels", "age", -0.02, -0.03, -0.01, "worse"))
    by, certain = told(scores(pixels=0.88, age=0.9, pca=0.89), apart)
    assert by == (
        "age leads by 1.0 points: 90.0 % against 89.0 % with pca, the next. 95 % interval of the difference: +0.2 to "
        "+1.8."
    )
    assert certain == "Measurably better than all 2 others."
    assert told(scores(age=0.9, pca=0.89), apart)[1] == "Measurably better than pca."


def test_a_lead_that_holds_in_part():
    apart = pairs(
        ("age", "pca", 0.01, -0.01, 0.03, "not resolved"),
        ("age", "pixels", 0.01, -0.01, 0.03, "not resolved"),
        ("age", "random", 0.2, 0.1, 0.3, "better"),
        ("pca", "pixels", 0.0, 0.0, 0.0, "identical"),
    )
    marked = {"age": "trained with labels", "pca": "<b>"}
    by, certain = told(scores(age=0.9, pca=0.89, pixels=0.89, random=0.7), apart, disclosed=marked)
    assert by == (
        "age leads by 1.0 points: 90.0 % against 89.0 % with pca (<b>) and pixels, the next. 95 % interval of the "
        "difference: −1.0 to +3.0, which includes 0."
    )
    assert certain == "Only in part: measurably better than random; no measurable difference from pca and pixels."


def test_no_lead():
    same = pairs(("age", "pca", 0.0, 0.0, 0.0, "identical"))
    by, certain = told(scores(age=0.9, pca=0.9), same)
    assert by == "Not at all: age and pca score the same, 90.0 %."
    assert certain == "No: no measurable difference from pca."


def test_a_lead_that_rounds_to_nothing_is_no_tie():
    apart = pairs(("age", "pca", 0.0004, -0.01, 0.0108, "not resolved"))
    by, _ = told(scores(age=0.9004, pca=0.9, pixels=0.9), apart)
    assert by.startswith("age leads by less than 0.1 points: 90.0 % against 90.0 % with pca, the next. 95 % interval")


def test_what_was_not_compared_is_not_called_equal():
    by, certain = told(scores(age=0.9, pca=0.8), [])
    assert by == "age leads by 10.0 points: 90.0 % against 80.0 % with pca, the next."
    assert certain == "No: not compared with pca."


@pytest.mark.parametrize("values", [{}, {"age": 0.9}, {"age": 0.9, "pca": math.nan}])
def test_one_encoder_leads_nobody(values):
    assert lead(scores(**values), []) is None


def test_many_are_counted_and_not_named():
    others = [f"other{number}" for number in range(7)]
    words = ["better"] * 5 + ["not resolved"] * 2
    apart = pairs(*(("best", name, 0.1, 0.0, 0.2, word) for name, word in zip(others, words, strict=True)))
    _, certain = told(scores(best=0.9, **dict.fromkeys(others, 0.8)), apart)
    assert certain == (
        "Only in part: measurably better than 5 of the 7 others; no measurable difference from other5 and other6."
    )
