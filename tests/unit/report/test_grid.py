"""Every score over the grid, from made-up scores whose cells are known, and on the page."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture
from test_html import page_of, write

from visrec.report.grid import grid

LENGTHS = {"protocol": "visrec", "average": "micro", "duplicates": "kept", "features": "raw", "distance": "l2"}


def score(one, metric, value, *, evaluator="knn", split="val", k=3, **more):
    space = {} if evaluator == "knn" else {"features": "", "distance": ""}
    about = {"encoder": one.encoder, "trial": one.name, "evaluator": evaluator, "metric": metric}
    limits = {"low": value - 0.05, "high": value + 0.05}
    return LENGTHS | space | about | {"split": split, "k": k, "value": value} | limits | more


def made(trials, scores, chosen=0, status=None, letters=None, precision=0.5, words=None):
    settings = pd.DataFrame(
        {
            **one.options,
            "encoder": one.encoder,
            "trial": one.name,
            "val_precision": None if (status or {}).get(number) else np.broadcast_to(precision, len(trials))[number],
            "status": (status or {}).get(number, "ok"),
            "chosen": number == chosen,
            "beside_chosen": "" if number == chosen else (words or {}).get(number, "not resolved"),
        }
        for number, one in enumerate(trials)
    )
    return grid(settings.astype({"val_precision": float}), pd.DataFrame(scores), trials, letters or {}, 3)


def values(found, name, split="val", group=None):
    """What the first encoder's table shows of a score, by its name and the group it is offered in."""
    numbers = [
        number
        for title, offered in found["groups"]
        for number, own in offered
        if own == name and group in (None, title)
    ]
    assert len(numbers) == 1
    return found["encoders"][0]["values"][split][numbers[0]]


def test_scores_stand_in_the_cells_of_their_settings():
    trials = [fixture.age(lam, mu) for lam in (1000, 500) for mu in (50, 10)]
    scores = [score(one, "map_at_r", 0.1 * number, k=None) for number, one in enumerate(trials)]
    scores += [score(one, "map_at_r", 0.7, k=None, split="test") for one in trials[:2]]
    scores += [score(trials[0], "map_at_r", 0.9, k=None, average="macro")]
    found = made(trials, scores, chosen=1, letters={("age", trials[2].name): "B", ("pca", trials[0].name): "Z"})
    (encoder,) = found["encoders"]
    assert (encoder["across"], encoder["columns"]) == ("lambda_z", ["500", "1000"])
    assert (encoder["down"], encoder["rows"]) == ("mu_x", ["10", "50"])
    assert found["scores"] == [{"name": "MAP@R", "share": True}]
    assert values(found, "MAP@R") == [[0.3, 0.1], [0.2, 0.0]]
    assert values(found, "MAP@R", "test") == [[None, 0.7], [None, 0.7]]
    assert encoder["marks"] == [["", "chosen"], ["B", ""]]
    assert encoder["state"] == [["", ""], ["", ""]]


def test_a_cell_is_the_mean_over_seeds_of_the_setting_that_validation_would_choose():
    """Not the best of what is shown: on test that would be a number that no chosen setting has."""
    trials = []
    for depth in (1, 2):
        for seed in (0, 1):
            trials.append(fixture.changed(fixture.age(500, 10, seed), {"depth": depth}))
    scores = [
        score(one, name, value, split=split)
        for name in ("coverage", "hubness")
        for split in ("val", "test")
        for one, value in zip(trials, (1, 3, 2, 6), strict=True)
    ]
    for chosen, mean in ((0, 2.0), (3, 4.0)):
        found = made(trials, scores, chosen)
        for split in ("val", "test"):
            assert values(found, "coverage of train, lists of 3", split) == [[mean]]
            assert values(found, "hubness (skewness)", split) == [[mean]]
        assert [one["share"] for one in found["scores"]] == [True, False]
    elsewhere = fixture.age(1000, 10)  # the chosen one: the cell of the others shows the best of them by precision
    settings = [0.5, 0.7, 0.8, 0.3]
    table = made([*trials, elsewhere], scores, chosen=4, precision=[*settings, 0.9])
    assert values(table, "hubness (skewness)") == [[2.0, None]]


def test_what_is_said_beside_the_chosen_is_paired_for_precision_and_else_by_intervals():
    trials = [fixture.age(lam, 10) for lam in (500, 1000, 2000, 3000)]
    scores = [score(one, "precision", value) for one, value in zip(trials, (0.5, 0.9, 0.9, 0.9), strict=True)]
    scores += [score(one, "precision", 0.9, split="test") for one in trials]
    # Half-widths are 0.05: 0.59 meets the chosen 0.5, 0.61 and 0.39 do not.
    scores += [score(one, "mrr", value, k=None) for one, value in zip(trials, (0.5, 0.59, 0.61, 0.39), strict=True)]
    found = made(trials, scores, words={1: "better"})
    (encoder,) = found["encoders"]
    numbers = {name: number for _, offered in found["groups"] for number, name in offered}
    beside, spans = (
        {name: encoder[what]["val"][number][0] for name, number in numbers.items()} for what in ("beside", "spans")
    )
    assert beside["precision@3"] == ["", "better", "not resolved", "not resolved"]
    assert beside["MRR"] == ["", "not resolved", "better", "worse"]
    assert encoder["beside"]["test"][numbers["precision@3"]] == [["", *3 * ["not resolved"]]]
    assert spans["MRR"] == [[0.45, 0.55], [0.54, 0.64], [0.56, 0.66], [0.34, 0.44]]
    assert encoder["spans"]["test"][numbers["MRR"]] == [4 * [None]]


def test_two_encoders_keep_their_own_numbers_on_the_axes():
    trials = [
        fixture.age(500, 10),
        fixture.trial("pca", {"components": 8}, named=["components"], grid=["components"]),
    ]
    found = made(trials, [score(one, "mrr", 0.5, k=None) for one in trials])
    age, pca = found["encoders"]
    assert (age["columns"], age["rows"], pca["columns"], pca["rows"]) == (["500"], ["10"], ["8"], [""])
    assert [one["values"]["val"] for one in (age, pca)] == [[[[0.5]]], [[[0.5]]]]


def test_a_score_that_is_not_finite_is_none_and_one_that_is_missing_did_not_fail():
    trials = [fixture.age(500, 10)]
    found = made(trials, [score(trials[0], "mrr", math.inf, k=None)], precision=math.nan)
    assert found["encoders"][0]["values"]["val"] == [[[None]]]
    assert found["encoders"][0]["state"] == [[""]]


def test_what_did_not_end_well_and_what_was_not_tried_have_no_value():
    trials = [fixture.age(500, 10), fixture.age(1000, 10), fixture.age(1000, 50)]
    scores = [score(one, "precision", 0.4) for one in trials]
    found = made(trials, scores, status={2: "collapsed"})
    assert values(found, "precision@3") == [[0.4, 0.4], [None, None]]
    assert found["encoders"][0]["state"] == [["", ""], ["no result", "collapsed"]]


def test_one_thing_at_a_time_is_a_row_per_setting():
    trials = fixture.one_at_a_time()
    scores = [score(one, "accuracy", number / 10, evaluator="svm", k=None) for number, one in enumerate(trials)]
    found = made(trials, scores)
    (encoder,) = found["encoders"]
    assert encoder["columns"] == [""]
    assert encoder["rows"][:2] == ["nothing changed", "kl exact"]
    assert values(found, "SVM accuracy") == [[0.0], [0.1], [0.2], [0.3], [0.4], [0.5]]


def test_scores_are_offered_by_group_and_only_where_some_trial_has_them():
    trials = [fixture.age(500, 10), fixture.age(1000, 10), fixture.trial("pca", {"components": 4})]
    scores = [
        score(trials[0], "precision", 0.1),
        score(trials[0], "precision", 0.2, features="whitened", distance="cosine"),
        score(trials[0], "precision", 0.3, k=10),
        score(trials[0], "hit", float("nan")),
        score(trials[0], "accuracy", 0.4, protocol="dino"),
        score(trials[0], "accuracy", 0.5, evaluator="mine", k=None),
        score(trials[0], "chosen_C", 0.5, evaluator="svm", k=None),
        score(trials[2], "mrr", 0.6, k=None),  # pca has no grid
    ]
    found = made(trials, scores)
    assert found["groups"] == [
        ("Recommendation", [(0, "precision@3")]),
        ("Other evaluators", [(1, "mine: accuracy")]),
        ("precision@3 elsewhere", [(2, "whitened, cosine")]),
        ("At k = 10", [(3, "precision@10")]),
    ]
    assert [one["name"] for one in found["encoders"]] == ["age"]
    assert values(found, "whitened, cosine") == [[0.2, None]]
    assert values(found, "precision@10") == [[0.3, None]]


def test_what_was_chosen_without_neighbours_is_marked():
    trials = [fixture.age(lam, 10) for lam in (500, 1000)]
    settings = pd.DataFrame(
        {
            **one.options,
            "encoder": one.encoder,
            "trial": one.name,
            "status": "ok",
            "chosen": number == 1,
            "beside_chosen": "",
            **{f"val_precision{end}": math.nan for end in ("", "_low", "_high")},
            **{f"val_svm_accuracy{end}": 0.5 for end in ("", "_low", "_high")},
        }
        for number, one in enumerate(trials)
    )
    scores = pd.DataFrame([score(one, "map_at_r", 0.5, k=None) for one in trials])
    (encoder,) = grid(settings, scores, trials, {}, 3)["encoders"]
    assert [mark for line in encoder["marks"] for mark in line] == ["", "chosen"]


def test_without_a_grid_there_is_nothing():
    one = fixture.trial("pca", {"components": 4})
    assert made([one], [score(one, "precision", 0.1)]) is None


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    trials = fixture.standard_trials()
    results = write(tmp_path_factory.mktemp("grid"), trials, fixture.STANDARD)
    page_of(results, trials)
    return results / "report/index.html"


@pytest.mark.browser
def test_any_score_can_be_shown(page_file, open_page):
    page = open_page(page_file)
    heat = page.locator(".heat")

    def cells():
        return [text.replace("\N{NO-BREAK SPACE}", " ") for text in heat.locator("td:not(:empty)").all_inner_texts()]

    # As the fixture has them: precision on validation, then SVM accuracy on test.
    assert cells() == [
        "96.8 %\n[95.8, 97.8]\nchosen A C", "96.2 %\n[95.2, 97.2]\nB", "95.5 %\n[94.5, 96.5]", "collapsed",
    ]  # fmt: skip
    assert heat.locator("thead th").all_inner_texts() == ["lambda_z 500", "lambda_z 1000"]
    assert heat.locator("tbody th").all_inner_texts() == ["mu_x 10", "mu_x 50"]
    heat.get_by_role("combobox", name="Score").select_option(label="SVM accuracy")
    heat.locator(".split").select_option(label="test")
    expected = {one: f"{100 * fixture.STANDARD[one][3]:.1f} %" for one in fixture.STANDARD if fixture.STANDARD[one]}
    assert [text.split("\n")[0] for text in cells()[:3]] == [
        expected["age", f"lambda_z~{lam}+mu_x~{mu}+seed~0"] for lam, mu in ((500, 10), (1000, 10), (500, 50))
    ]
    assert heat.locator("caption").inner_text().startswith("age: SVM accuracy on test, ")
    assert heat.locator("[role=status]").inner_text().startswith("SVM accuracy on test: ")
    # The intervals of SVM accuracy meet that of the chosen: all in one grey.
    grounds = heat.locator("tbody td:not(.bad)").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(grounds)) == 1


@pytest.mark.browser
def test_without_javascript_there_is_the_figure_alone(page_file, open_page):
    page = open_page(page_file, java_script_enabled=False)
    assert not page.locator(".heat").is_visible()
    assert page.locator("#grid .drawn svg").first.is_visible()


@pytest.mark.browser
def test_colour_is_centred_on_the_chosen(page_file, open_page, tmp_path):
    """Of three settings beside the chosen one is worse by 5 points, one better by 1, and one is not told from it."""
    text = page_file.read_text(encoding="utf-8")
    start = text.index('<script type="application/json">', text.index('<div class="heat"')) + len(
        '<script type="application/json">'
    )
    end = text.index("</script>", start)
    data = json.loads(text[start:end])
    encoder = data["encoders"][0]
    encoder["values"]["val"][0] = [[0.90, 0.85], [0.91, 0.99]]
    encoder["beside"]["val"][0] = [["", "worse"], ["better", "not resolved"]]
    encoder["state"], encoder["marks"] = [["", ""], ["", ""]], [["chosen", ""], ["", ""]]
    changed = tmp_path / "index.html"
    changed.write_text(text[:start] + json.dumps(data).replace("<", "\\u003c") + text[end:], encoding="utf-8")
    cells = open_page(changed).locator(".heat tbody td")
    looks = cells.evaluate_all("all => all.map(one => [one.className, one.style.getPropertyValue('--share')])")
    assert looks == [["chosen", ""], ["worse", "100%"], ["better", "48%"], ["", ""]]  # 35 + 65 / 5
    grounds = cells.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert grounds[0] == grounds[3]
    assert len(set(grounds)) == 3
    assert "▼ worse" in cells.nth(1).inner_text()
