"""Curves over k."""

import report_evidence as evidence
import report_fixture as fixture

from visrec.report import over_k, score_tables

TRIALS = [one for one in fixture.standard_trials() if one.name == "seed~0"]
SHOWN = {one.encoder: one.name for one in TRIALS}


def test_a_curve_of_each_encoder_by_hand():
    found = over_k.curves(score_tables.of_chosen(evidence.scores(TRIALS), SHOWN), ["pca", "pixels", "random"])
    assert [line["encoder"] for line in found["lines"]] == ["pca", "pixels", "random"]
    assert [tick["label"] for tick in found["x"]] == ["1", "3", "5", "10"]  # not the protocols' own
    assert [tick["at"] for tick in found["x"]] == [0, 33.333, 66.667, 100]
    assert found["chance"].replace("\N{NO-BREAK SPACE}", " ") == "10.0 %"
    pca = found["lines"][0]
    # 0.62 at 3, and 0.002 less for each further k; half an interval is 0.02
    assert pca["says"].replace("\N{NO-BREAK SPACE}", " ") == "62.4 % at 1, 62.0 % at 3, 61.6 % at 5, 60.6 % at 10"
    low, high = 0.45, 0.65  # 0.486 - 0.02 and 0.624 + 0.02, in steps of 0.05
    assert found["y"][0]["label"].startswith("45")
    assert [round(point["y"], 1) for point in pca["points"]] == [
        round(100 * (value - low) / (high - low), 1) for value in (0.624, 0.62, 0.616, 0.606)
    ]
    assert [point["says"].replace("\N{NO-BREAK SPACE}", " ") for point in pca["points"]] == [
        "pca: 62.4 % [60.4, 64.4] at k = 1",
        "pca: 62.0 % [60.0, 64.0] at k = 3",
        "pca: 61.6 % [59.6, 63.6] at k = 5",
        "pca: 60.6 % [58.6, 62.6] at k = 10",
    ]
    # y from the top; a band goes along its upper and back along its lower limit
    assert pca["line"].split()[1] == f"33.333,{100 - pca['points'][1]['y']:.6g}" == "33.333,15"
    assert pca["band"].split()[1] == "33.333,5"
    assert pca["band"].split()[6] == "33.333,25"
    labels = [line["label"] for line in found["lines"]]
    assert labels[0] - labels[1] >= 7.5


def test_one_k_is_no_curve():
    scores = evidence.scores(TRIALS)
    one = scores[(scores["k"] == 3).fillna(False)]
    assert over_k.curves(score_tables.of_chosen(one, SHOWN), list(SHOWN)) is None
    failed = {(one.encoder, one.name) for one in TRIALS if one.encoder == "pca"}
    found = over_k.curves(score_tables.of_chosen(evidence.scores(TRIALS, failed), SHOWN), list(SHOWN))
    assert {line["encoder"] for line in found["lines"]} == {"pixels", "random"}
