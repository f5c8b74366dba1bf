import math

import pytest

from visrec.report import verdict as v

NAN = math.nan


def row(encoder, value, half=0.01, **more):
    given = {
        "encoder": encoder,
        "k": 3,
        "precision": value,
        "precision_low": value - half,
        "precision_high": value + half,
        "precision_chance": 0.1,
        "svm_accuracy": value,
        "svm_accuracy_low": value - half,
        "svm_accuracy_high": value + half,
        "majority": 0.19,
        "trials": 1,
        "trials_ok": 1,
        "n_seeds": 3,
    }
    return given | more


def pairs(*rows, metric="precision"):
    """Rows of comparisons.csv: (a, b, difference, low, high, word)."""
    names = "a", "b", "difference", "low", "high", "word"
    return [dict(zip(names, row, strict=True)) | {"metric": metric} for row in rows]


APART = pairs(("pca", "age", 0.02, 0.01, 0.03, "better"))


@pytest.mark.parametrize(
    ("a", "b", "metric", "word", "difference"),
    [
        ("pca", "age", "precision", "better", (0.02, 0.01, 0.03)),
        ("age", "pca", "precision", "worse", (-0.02, -0.03, -0.01)),  # the row says it of the other one
        ("pca", "age", "svm_accuracy", "not measured", (NAN, NAN, NAN)),
        ("pca", "pixels", "precision", "not measured", (NAN, NAN, NAN)),
    ],
)
def test_compared_reads_the_pair_whichever_stands_first(a, b, metric, word, difference):
    found, numbers = v.compared(APART, a, b, metric)
    assert found == word
    assert (numbers.value, numbers.low, numbers.high) == pytest.approx(difference, nan_ok=True)
    assert v.relation(APART, a, b, metric) == word


@pytest.mark.parametrize("word", ["not resolved", "not measured"])
def test_what_is_not_resolved_is_not_resolved_from_either_side(word):
    rows = pairs(("pca", "age", 0.0, -0.01, 0.01, word))
    assert v.relation(rows, "pca", "age") == v.relation(rows, "age", "pca") == word


def test_points():
    assert v.points(v.Score(0.013, 0.0041, 0.0219)) == "+1.3 points [+0.4, +2.2]"
    assert v.points(v.Score(-0.001, -0.02, 0.018)) == "−0.1 points [−2.0, +1.8]"
    assert v.points(v.Score(-0.013, -0.02, NAN)) == ""


@pytest.mark.parametrize(
    ("constant", "word"), [(0.77, "better"), (0.79, "not resolved"), (0.83, "worse"), (NAN, "not measured")]
)
def test_beside_constant(constant, word):
    assert v.beside_constant(v.Score(0.80, 0.78, 0.82), constant) == word


def test_the_conclusion_is_that_of_the_paired_comparisons():
    rows = [row("age", 0.90), row("pca", 0.89), row("pixels", 0.88)]  # every interval overlaps every other
    apart = pairs(("age", "pca", 0.01, 0.002, 0.018, "better"), ("pixels", "age", -0.02, -0.03, -0.01, "worse"))
    found = v.verdict(rows, ["age"], apart)
    assert found.word == "better"
    assert found.heading == "age recommends best: 90 of 100 recommended pictures show the query's class (guessing: 10)."

    mixed = pairs(("age", "pca", 0.01, -0.01, 0.03, "not resolved"), ("age", "pixels", 0.02, 0.01, 0.03, "better"))
    found = v.verdict(rows, ["age"], mixed)
    assert found.word == "not resolved"
    assert found.heading == (
        "age scores highest, without a measurable lead over pca: 90 of 100 recommended pictures show the query's class "
        "(guessing: 10)."
    )

    close = pairs(*(("age", other, 0.01, -0.01, 0.03, "not resolved") for other in ("pca", "pixels")))
    # Intervals that separate say nothing: another metric's comparison is not asked, either.
    far = [row("age", 0.9), row("pca", 0.5), row("pixels", 0.3)]
    found = v.verdict(far, ["age"], close + pairs(("age", "pca", 0.4, 0.3, 0.5, "better"), metric="svm_accuracy"))
    assert found.word == "not resolved"
    assert found.heading == (
        "No encoder stands out: 30 to 90 of 100 recommended pictures show the query's class (guessing: 10), "
        "whichever is "
        "taken."
    )


def test_counts_of_a_hundred_have_a_decimal_where_they_would_read_the_same():
    assert v.of_hundred(0.974, 0.966) == ["97.4", "96.6"]
    assert v.of_hundred(0.974, 0.963) == ["97", "96"]
    assert v.of_hundred(0.444, 0.444) == ["44", "44"]  # they are the same
    rows = [row("age", 0.444), row("pca", 0.444)]
    assert ": 44 of 100 recommended" in v.verdict(rows, [], pairs(("age", "pca", 0, 0, 0, "identical"))).heading


def test_findings_set_a_trained_encoder_beside_its_untrained_self_pixels_chance_and_the_constant():
    rows = [row("age", 0.195), row("random", 0.15), row("pixels", 0.25)]
    apart = pairs(
        ("pixels", "age", 0.055, 0.04, 0.07, "better"),
        ("pixels", "random", 0.1, 0.09, 0.11, "better"),
        ("age", "random", 0.045, 0.03, 0.06, "better"),
    )
    findings = v.verdict(rows, ["age"], apart).findings
    assert {finding.subject: finding.word for finding in findings} == {
        "age vs. its own untrained network": "better",
        "age vs. raw pixels": "worse",
        "age vs. chance": "better",
        # The seed paper's SVM: 19.5 % vs. 19 % is no finding.
        "age vs. always guessing the most common class": "not resolved",
    }
    assert findings[1].detail.replace("\N{NO-BREAK SPACE}", " ") == (
        "precision@3: 19.5 % [18.5, 20.5] vs. 25.0 % [24.0, 26.0]; difference −5.5 points [−7.0, −4.0]"
    )


def test_a_baseline_that_was_not_run_is_named():
    found = v.verdict([row("age", 0.5), row("pixels", 0.4)], ["age"], []).findings
    assert found[0].word == "not measured"
    assert "random is not in this report" in found[0].detail


def test_nothing_measured_and_one_measured():
    none = v.verdict([row("age", NAN, n_seeds=0, trials=2, trials_ok=0)], ["age"], [])
    assert none.word == "not measured"
    assert none.heading == "No encoder gave an embedding that could be scored."
    assert none.caveats == ["2 of 2 trials of age gave no score: collapsed, diverged or unfinished, see the runs."]
    one = v.verdict([row("pixels", 0.5)], [], [])
    assert "nothing to compare" in one.heading
    assert one.caveats == ["No trained network is in this report."]


def test_one_seed_is_said():
    assert any("one seed of age" in caveat for caveat in v.verdict([row("age", 0.9, n_seeds=1)], ["age"], []).caveats)
    assert not any("one seed" in caveat for caveat in v.verdict([row("age", 0.9, n_seeds=3)], ["age"], []).caveats)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(8.25, "8.2 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"), (18180, "5 h 03 min"), (NAN, "not measured")],
)
def test_duration(seconds, words):
    assert v.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == words


def test_percent_and_span():
    assert v.percent(0.16249) == "16.2\N{NO-BREAK SPACE}%"
    assert v.percent(NAN) == "–"
    assert v.percent(-0.0004) == v.percent(-0.0) == "0.0\N{NO-BREAK SPACE}%"
    assert (v.percent(-0.0006), v.percent(0.5, 0)) == ("-0.1\N{NO-BREAK SPACE}%", "50\N{NO-BREAK SPACE}%")
    assert v.span(0.154, 0.17) == "[15.4, 17.0]"
    assert v.span(NAN, NAN) == ""
    assert v.enumerate_words(["a", "b", "c"]) == "a, b and c"
    assert v.enumerate_words(["a"]) == "a"


def test_what_has_to_be_said_of_an_encoder_is_said_wherever_it_is_named():
    rows = [row("supcon", 0.9, n_seeds=1, trials=2), row("age", 0.5), row("pixels", 0.4)]
    known = pairs(("supcon", "age", 0.4, 0.3, 0.5, "better"), ("supcon", "pixels", 0.5, 0.4, 0.6, "better"))
    found = v.verdict(rows, ["supcon", "age"], known, disclosed={"supcon": "trained with labels"})
    marked = "supcon (trained with labels)"
    assert found.heading.startswith(f"{marked} recommends best: 90 of 100")
    assert {one.subject.partition(" vs. ")[0] for one in found.findings} == {marked, "age"}
    assert found.caveats[0].startswith(f"1 of 2 trials of {marked} gave no score")
    assert found.caveats[1].startswith(f"There is one seed of {marked}:")


def test_the_heading_spells_out_the_name():
    rows, titles = [row("supcon", 0.9), row("pixels", 0.5)], {"supcon": "supervised contrast", "pixels": "the picture"}
    apart = pairs(("supcon", "pixels", 0.4, 0.3, 0.5, "better"))
    for disclosed, words in (({}, ""), ({"supcon": "trained with labels"}, ", trained with labels")):
        heading = v.verdict(rows, [], apart, disclosed, titles).heading
        assert heading.startswith(f"supcon (supervised contrast{words}) recommends best: 90 of 100")
    assert v.spelled({}, {"a": "b"}) == {"a": "b"}


def test_no_encoder_scores_highest_where_all_have_the_same():
    rows = [row("pixels", 0.444), row("random", 0.444), row("age", 0.4441)]
    of_100 = "of 100 recommended pictures show the query's class (guessing: 10), whichever is taken."
    assert v.verdict(rows, [], []).heading == f"No encoder stands out: 44.4 {of_100}"
    heading = v.verdict([*rows, row("pca", 0.3)], [], []).heading
    assert heading == f"No encoder stands out: 30 to 44 {of_100}"


def test_a_difference_of_nothing_has_no_sign():
    (pair,) = pairs(("pixels", "age", 0.0, -0.001, 0.002, "not resolved"))
    _, difference = v.compared([pair], "age", "pixels", "precision")  # the other way round, so 0 is negated
    assert v.points(difference) == "0.0 points [−0.2, +0.1]"


def test_an_unstable_training_is_named_with_its_reason():
    reason = "from iteration 9100 on, kl_fake_ratio is 2.50, above the healthy 1.1"
    found = v.verdict([row("age", 0.9, status="unstable", reason=reason)], ["age"], [])
    assert found.caveats == [
        f"The training of age is unstable ({reason}): its scores are those of networks that no longer do what they are "
        "trained for."
    ]
    assert v.verdict([row("age", 0.9, status="ok", reason="")], ["age"], []).caveats == []


def test_the_common_verdict_is_of_the_means_and_their_pairs():
    means = [("pca", 0.9), ("age", 0.8), ("pixels", 0.7)]
    rows = [{"encoder": name, "metric": "precision", "value": v, "low": v - 0.1, "high": v + 0.1} for name, v in means]
    rows += [{"encoder": "age", "metric": "map_at_r", "value": 1.0, "low": 1.0, "high": 1.0}]
    apart = pairs(
        ("age", "pca", -0.1, -0.2, -0.01, "worse"),
        ("pca", "pixels", 0.2, 0.1, 0.3, "better"),
        ("age", "pixels", 0.1, -0.1, 0.2, "not resolved"),
    )
    found = v.common(rows, apart, 0.15)
    assert found.word == "better"
    assert found.heading.startswith("pca recommends best: 90 of 100 recommended pictures show the query's class (guess")
    assert found.caveats == v.together(apart)
    assert found.caveats[0].startswith("All 3 pairs of encoders are judged together")
    assert v.common(rows, [one | {"word": "not resolved"} for one in apart], 0.15).word == "not resolved"


def test_how_many_pairs_were_judged_is_said_of_several():
    apart = pairs(("a", "b", 0.1, 0.0, 0.2, "better"), ("a", "c", NAN, NAN, NAN, "not measured"))
    assert v.judged(apart) == 1
    assert v.together(apart) == []
    assert v.judged(apart, "map_at_r") == 0
    rows = [row("a", 0.9), row("b", 0.8), row("c", 0.7)]
    several = [*apart, *pairs(("b", "c", 0.1, 0.0, 0.2, "better"))]
    assert v.together(several)[0] in v.verdict(rows, [], several).caveats
