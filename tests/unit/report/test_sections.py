import math

import numpy as np
import pandas as pd
import pytest
import report_evidence as evidence
import report_fixture as fixture

from visrec.report import score_tables, sections

ENCODERS = ["pca", "age", "pixels", "random"]


def rows(failed=(), attributes=()):
    trials = [one for one in fixture.standard_trials() if one.name in ("seed~0", "lambda_z~500+mu_x~10+seed~0")]
    failed = {(one.encoder, one.name) for one in trials if one.encoder in failed}
    table = evidence.scores(trials, failed, attributes)
    return score_tables.of_chosen(table, {one.encoder: one.name for one in trials})


def lines(groups):
    return {row["label"]: row for part in groups for row in part["rows"]}


def values(row):
    return [cell["value"].replace("\N{NO-BREAK SPACE}", " ") for cell in row["cells"]]


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_all_scores_stand_beside_chance_and_the_constant_answer():
    shown, macro, further = sections.all_scores(rows(), ENCODERS, 3)
    assert [part["title"] for part in shown["groups"]] == ["Recommendation", "Classification"]
    found = lines(shown["groups"])
    assert list(found) == [
        *("precision@3", "hit@3", "R-precision", "MAP@R", "MRR"),
        *("k-NN accuracy@3", "k-NN accuracy@3, weighted", "SVM accuracy", "logistic regression accuracy"),
        "SVM accuracy, labels shuffled (control)",
    ]
    assert values(found["precision@3"]) == ["62.0 %", "61.0 %", "60.0 %", "50.0 %"]
    assert (plain(found["precision@3"]["chance"]), found["precision@3"]["majority"]) == ("10.0 %", "")
    assert plain(found["hit@3"]["chance"]) == "27.0 %"
    assert plain(found["MAP@R"]["chance"]) == "1.0 %"
    assert plain(found["k-NN accuracy@3"]["majority"]) == "12.0 %"
    # age: (0.61 - 0.1) / 0.9
    assert plain(found["precision@3"]["cells"][1]["lift"]) == "lift 56.7 %"
    assert values(lines(macro["groups"])["precision@3"]) == ["58.0 %", "57.0 %", "56.0 %", "46.0 %"]
    assert further["summary"] == "Other numbers of neighbours: k = 1, 5, 10"
    assert values(lines(further["groups"])["precision@10"])[0] == "60.6 %"
    assert "precision@3" not in lines(further["groups"])
    # Others' protocols have other k, which are not in these tables.
    few = [
        (name, [row for row in part if row["protocol"] != "visrec" or row["k"] != 1]) for name, part in rows().items()
    ]
    assert sections.all_scores(dict(few), ENCODERS, 3)[2]["summary"] == "Other numbers of neighbours: k = 5, 10"


def test_an_encoder_that_is_not_there_is_an_empty_column():
    own = {encoder: part for encoder, part in rows().items() if encoder != "random"}
    shown = sections.all_scores(own, ENCODERS, 3)[0]
    assert values(lines(shown["groups"])["precision@3"]) == ["62.0 %", "61.0 %", "60.0 %", "–"]


def test_a_collapsed_encoder_says_so_in_every_line():
    shown = sections.all_scores(rows(failed=["age"]), ENCODERS, 3)[0]
    for row in lines(shown["groups"]).values():
        assert (row["cells"][1]["value"], row["cells"][1]["note"]) == ("–", "collapsed")
    assert plain(lines(shown["groups"])["precision@3"]["chance"]) == "10.0 %"


def test_metrics_that_nobody_has_are_left_out():
    own = {encoder: [row for row in part if row["evaluator"] == "knn"] for encoder, part in rows().items()}
    own = {encoder: [row for row in part if row["metric"] != "map_at_r"] for encoder, part in own.items()}
    found = lines(sections.all_scores(own, ENCODERS, 3)[0]["groups"])
    assert "MAP@R" not in found
    assert not any("SVM" in label for label in found)
    assert sections.all_scores({encoder: [] for encoder in ENCODERS}, ENCODERS, 3) == []


def test_attributes_are_summed_up_and_folded():
    tables = sections.all_scores(rows(attributes=["Bald", "Hat"]), ENCODERS, 3)
    assert tables[0]["groups"][2]["title"] == "Attributes and identity"
    assert list(lines(tables[0]["groups"][2:])) == [
        "attribute precision@3, mean over attributes",
        "NDCG@3 of shared attributes",
        "identity precision@3",
    ]
    assert tables[-1]["summary"] == "Precision@3 of each attribute"
    assert values(lines(tables[-1]["groups"])["Hat"])[0] == "51.0 %"
    assert sections.has_attributes(rows(attributes=["Bald"]))
    assert not sections.has_attributes(rows())


def test_an_unknown_evaluator_is_shown_under_its_name():
    own = rows()
    for part in own.values():
        more = evidence.row("purity", 0.4, evaluator="clusters") | {"lift": 0.3}
        part += [more, evidence.row("purity", 0.1, evaluator="clusters", split="val") | {"lift": 0.0}]
    groups = sections.all_scores(own, ENCODERS, 3)[0]["groups"]
    assert groups[-1]["title"] == "Other evaluators"
    assert values(lines(groups)["clusters: purity"])[0] == "40.0 %"
    assert len(groups[-1]["rows"]) == 1


def test_spaces_mark_what_was_best_on_validation_not_on_test():
    own = rows()
    for row in own["age"]:
        # On test whitened cosine wins, on validation still blocks cosine.
        if (row["features"], row["distance"], row["split"]) == ("whitened", "cosine", "test"):
            row["value"] = 0.99
    found = lines(sections.spaces(own, ENCODERS, 3))
    assert len(found) == 8
    marked = [label for label, row in found.items() if row["cells"][1]["flag"]]
    assert marked == ["each layer on one scale, cosine"]
    assert values(found["each layer on one scale, cosine"])[1] == "65.0 %"
    assert values(found["whitened, cosine"])[1] == "99.0 %"
    assert values(found["features as they are, L2"])[1] == "61.0 %"


def test_one_space_has_nothing_to_mark():
    own = {e: [r for r in part if (r["features"], r["distance"]) == ("raw", "l2")] for e, part in rows().items()}
    found = lines(sections.spaces(own, ENCODERS, 3))
    assert list(found) == ["features as they are, L2"]
    assert not any(cell["flag"] for cell in found["features as they are, L2"]["cells"])


def test_leaks_go_from_counting_oneself_to_no_duplicates():
    (group,) = sections.leaks(rows(), ENCODERS, 3)
    assert [values(row)[1] for row in group["rows"]] == ["72.0 %", "58.0 %", "61.0 %", "60.5 %"]
    assert [plain(row["chance"]) for row in group["rows"]] == ["40.0 %", "10.0 %", "10.0 %", "10.0 %"]


def test_protocols_come_with_their_rules_and_few_labels_with_their_spread():
    groups = {part["title"]: part for part in sections.protocols(rows(), ENCODERS)}
    assert list(groups) == ["paper", "leave-one-out", "dino", "lightly", "w-mse", "dkobak", "pml", "ali", "mteb"]
    assert groups["w-mse"]["note"] == "W-MSE: plain vote of 5 neighbours in L2"
    dino = lines([groups["dino"]])
    assert values(dino["k-NN accuracy@20, weighted; test"])[1] == "61.0 %"
    assert dino["k-NN accuracy@200, weighted; test"]["cells"][1]["note"] == "fewer images than neighbours"
    (ali,) = groups["ali"]["rows"]
    assert (values(ali)[1], ali["cells"][1]["note"]) == ("71.0 %", "sd 1.3 over 10 draws")
    assert "five" not in groups["mteb"]["rows"][0]["cells"][0]["note"]
    assert groups["mteb"]["rows"][0]["cells"][0]["note"] == "sd 1.3 over 5 draws"
    assert sections.protocols({encoder: [] for encoder in ENCODERS}, ENCODERS) == []


def test_health_stands_beside_random_lists_without_lift():
    found = lines(sections.health(rows(), ENCODERS, 3))
    assert values(found["coverage of train, lists of 3"])[0] == "30.0 %"
    assert plain(found["coverage of train, lists of 3"]["chance"]) == "35.0 %"
    assert (values(found["Gini index"])[0], found["Gini index"]["chance"]) == ("0.80", "0.70")
    assert found["diversity inside a list"]["cells"][0]["span"] == "[0.23, 0.27]"
    assert found["diversity inside a list"]["chance"] == ""
    assert not any(cell["lift"] for row in found.values() for cell in row["cells"])


PAIRS = [
    {"metric": "precision", "a": "pca", "b": "age", "difference": 0.013, "low": 0.002, "high": 0.024, "word": "better"},
    {"metric": "precision", "a": "pca", "b": "pixels", "difference": math.nan, "low": math.nan, "high": math.nan}
    | {"word": "not measured"},
    {"metric": "precision", "a": "age", "b": "pixels", "difference": 0.0, "low": 0.0, "high": 0.0}
    | {"word": "not resolved"},
    {"metric": "map_at_r", "a": "pca", "b": "age", "difference": -0.1, "low": -0.2, "high": 0.01}
    | {"word": "not resolved"},
]


def test_duels_read_both_ways():
    first, second = sections.duels(PAIRS, ["pca", "age", "pixels"], 3)
    assert (first["label"], second["label"]) == ("precision@3", "MAP@R")
    cells = {
        (row["encoder"], other): cell
        for row in first["rows"]
        for other, cell in zip(first["encoders"], row["cells"], strict=True)
    }
    assert cells["pca", "age"] == {"word": "better", "value": "+1.3", "span": "[+0.2, +2.4]"}
    assert cells["age", "pca"] == {"word": "worse", "value": "−1.3", "span": "[−2.4, −0.2]"}
    assert cells["pixels", "pca"] == {"word": "not measured", "value": "–", "span": ""}
    assert cells["pixels", "age"] == {"word": "not resolved", "value": "0.0", "span": "[0.0, 0.0]"}
    assert cells["age", "age"]["word"] == ""
    assert sections.duels([], ["pca"], 3) == []


def test_overall_is_one_table_per_metric():
    table = pd.DataFrame(
        [
            ["age", "precision", 4, 0.5, 0.4, 0.6],
            ["pca", "precision", 4, 0.3, 0.2, 0.4],
            ["age", "map_at_r", 4, 0.1, 0, 0.2],
        ],
        columns=["encoder", "metric", "datasets", "value", "low", "high"],
    )
    first, second = sections.overall(table, 3)
    assert (first["label"], first["datasets"], [row["encoder"] for row in first["rows"]]) == (
        "precision@3",
        4,
        ["age", "pca"],
    )
    assert second["label"] == "MAP@R"
    assert sections.overall(table.iloc[:0], 3) == []


def selector(**more):
    return {
        **{"encoder": "age", "selector": "rankme_stack", "better": "higher", "settings": 4, "spearman": -0.8},
        **{"trial": "a", "precision": 0.5, "low": 0.4, "high": 0.6},
        **{"best_trial": "b", "best_precision": 0.7, "best_low": 0.6, "best_high": 0.8},
    } | more


def test_selection_shows_both_choices():
    (found,) = sections.selection(pd.DataFrame([selector()]))
    assert (found["selector"], found["correlation"], found["same"]) == ("RankMe of the stack", "−0.80", False)
    assert (plain(found["test"]["value"]), plain(found["best_test"]["value"])) == ("50.0 %", "70.0 %")
    (found,) = sections.selection(pd.DataFrame([selector(best_trial="a", selector="mine")]))
    assert (found["selector"], found["same"]) == ("mine", True)


def test_selection_says_why_there_is_no_correlation():
    few, constant, none = sections.selection(
        pd.DataFrame(
            [
                selector(spearman=math.nan, settings=2),
                selector(spearman=math.nan),
                selector(spearman=math.nan, settings=0, trial="", best_trial="", precision=math.nan, low=math.nan),
            ]
        )
    )
    assert few["correlation"] == "fewer than three settings"
    assert constant["correlation"] == "undefined: one of the two is constant"
    assert (none["trial"], none["test"], none["same"]) == ("", {"value": "–", "span": ""}, False)


def test_overlaps_of_chosen_settings_are_text():
    chosen = ["age", "lambda_z 500", 3, 10, 0.25, 0.001]
    table = pd.DataFrame(
        [["age", "lambda_z 1000", 3, 10, 0.5, 0.001], chosen, ["pca", *chosen[1:]]],
        columns=["encoder", "setting", "seeds", "k", "overlap", "chance"],
    )
    (found,) = sections.overlaps(
        table, [{"encoder": "age", "setting": "lambda_z 500"}, {"encoder": "pca", "setting": math.nan}]
    )
    assert (found["seeds"], plain(found["overlap"]), plain(found["chance"])) == ("3", "25.0 %", "0.1 %")


@pytest.mark.parametrize(
    ("value", "text"), [(0.013, "+1.3"), (-0.013, "−1.3"), (0.0, "0.0"), (-0.0001, "−0.0"), (-0.0, "0.0")]
)
def test_points(value, text):
    assert sections.points(value) == text
    assert sections.points(np.nan) == "–"


def test_letters_stand_for_the_choices_without_labels():
    rows = pd.DataFrame(
        [
            ("age", "fid", "a"),
            ("age", "hubness", "b"),
            ("vae", "fid", ""),
            ("vae", "hubness", "c"),
            ("age", "rme", "a"),
        ],
        columns=["encoder", "selector", "trial"],
    )
    assert sections.letters(rows) == {"fid": "A", "hubness": "B", "rme": "C"}
    assert sections.chosen_without(rows) == {("age", "a"): "A C", ("age", "b"): "B", ("vae", "c"): "B"}


def test_the_best_space_has_its_paired_difference_where_it_is_better_or_worse():
    about = {"features": "blocks", "distance": "cosine", "difference": 0.04, "low": 0.011, "high": 0.069}
    apart = [about | {"encoder": "pca", "word": "better"}, about | {"encoder": "age", "word": "not resolved"}]
    cells = lines(sections.spaces(rows(), ENCODERS, 3, apart))["each layer on one scale, cosine"]["cells"]
    star = "★ best on validation"
    assert [cell["flag"] for cell in cells] == [f"{star}, better: +4.0 [+1.1, +6.9]", star, star, star]
