import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import report_evidence as evidence
import report_fixture as fixture
from PIL import Image

from visrec.data.files import write_json, write_text
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.report import FIGURES, TABLES, html, tables
from visrec.report.grid import open_settings
from visrec.report.ladder import COLUMNS

FIGURE = '<svg viewBox="0 0 1 1" width="1pt" height="1pt"><defs><path id="m"/></defs><use href="#m"/></svg>'
VOID = {"meta", "img", "input", "source", "br", "link"}


class Page(HTMLParser):
    """Tags with attributes, text per open element, and whether elements close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.scripts = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes out of order"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def all_text(self):
        return re.sub(r"\s+", " ", "".join(self.text).replace("\N{NO-BREAK SPACE}", " "))


def write(root, trials, values, *, evaluators=("knn", "svm"), full=False, attributes=(), **more):
    """Results with tables: small ones, or `full` with all that the evaluators measure."""
    results = fixture.build(root, trials, values, **more)
    tables.tables(
        fixture.experiment(results, trials, evaluators),
        {name: results / "tables" / file for name, file in TABLES.items()},
    )
    evidence.write_atlas(results / "tables", trials, values)
    if full:
        evidence.write_scores(results / "tables", trials, values, attributes)
    return results


def make(root, trials, values, *, config=None, commit="abc1234", configfiles=(), **more):
    return page_of(write(root, trials, values, **more), trials, config, commit, configfiles)


def page_of(results, trials, config=None, commit="abc1234", configfiles=(), drawn=False, ladder_csv=None):
    if not drawn:  # drawing is slow, and tested elsewhere
        for dataset, size in {(one.dataset, one.size) for one in trials}:
            for name in FIGURES:
                write_text(results / "figures" / dataset / f"{size}px" / name, FIGURE)
    config = {**(config or fixture.CONFIG), "report": {"queries": 3, "neighbours": 5}}
    experiment = fixture.experiment(results, trials, list(config["evaluators"]))
    html.report(experiment, config, results, commit, configfiles, ladder_csv=ladder_csv)
    return (results / "report/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def standard(drawn, tmp_path_factory):
    """The page of all that the evaluators measure, with its real figures."""
    results = tmp_path_factory.mktemp("html") / "results/demo"
    shutil.copytree(drawn, results)
    evidence.write_scores(results / "tables", fixture.standard_trials(), fixture.STANDARD)
    return page_of(results, fixture.standard_trials(), drawn=True)


def test_is_well_formed_and_small(standard):
    page = Page(standard)
    assert page.open == []
    assert len(standard) < 700_000
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {anchor.removeprefix("#") for anchor in anchors} <= set(ids)


def test_figures_are_drawn_in_the_colours_of_the_page(standard):
    """As variables, each of which has a light and a dark value, and no colour of one look is left."""
    drawn = re.findall(r'<div class="drawn .*?</div>', standard, re.DOTALL)
    assert len(drawn) == 4
    figures = "".join(drawn)
    assert "<img" not in figures
    assert not re.search(r"#[0-9a-f]{6}\b|rgb", figures)
    used = set(re.findall(r"var\((--\w+)\)", figures))
    assert {"--ground", "--ink", "--muted", "--rule", "--accent", "--open", "--e1", "--f0"} <= used
    (rules,) = re.findall(r"<style>(.*?)</style>", standard, re.DOTALL)
    for name in used:
        values = re.findall(rf"{name}: (#[0-9a-f]{{6}});", rules)
        assert len(set(values)) == 2, name
    named = [attrs["aria-label"] for tag, attrs in Page(figures).tags if tag == "svg"]
    assert [name.split(",")[0].split(" of ")[0] for name in named] == [
        *["Training curves"] * 2, *["Heat maps"] * 2, "Share", *["Precision"] * 2,  # for windows and for phones
    ]  # fmt: skip


def test_needs_no_network(standard):
    page = Page(standard)
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert attrs.get(name, "#").startswith(("data:", "#")), (tag, name, attrs[name][:60])
    assert not re.search(r"url\((?!\"data:|#d1-)|@import|https?:|xmlns", standard)
    assert not any(tag in ("link", "iframe", "object") for tag, _ in page.tags)


def test_data_is_escaped(standard):
    page = Page(standard)
    assert "<script>alert(1)" not in standard
    scripts = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert scripts == ["application/json", "application/json", None]  # data of grid and examples, and the code
    assert '<script>alert(1)</script>"' in page.all_text()  # the class of a neighbour, as text
    assert "node<1>" in page.all_text()
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_config_and_reason_are_escaped(tmp_path):
    trials = [fixture.age(500, 10)]
    evil = "</code></script><img src=x onerror=alert(1)>"
    text = make(
        tmp_path, trials, {("age", trials[0].name): None},
        config=fixture.CONFIG | {"note": evil}, commit=evil, reasons={("age", trials[0].name): evil},
    )  # fmt: skip
    assert "<img src=x" not in text
    page = Page(text)
    assert page.open == []
    assert page.all_text().count(evil) >= 4  # leaderboard, pictures, runs, commit, config


def test_numbers_in_the_page_are_those_of_the_tables(standard):
    text = Page(standard).all_text()
    for words in (
        "97.5 %",
        "[96.5, 98.5]",
        "96.0 %[95.0, 97.0]",
        "95.6 %",
        "lambda_z 500, mu_x 10",
        "chosen among 4 settings",
    ):
        assert words in text, words


def test_counts_of_splits_stand_apart_from_the_rule_that_made_them(standard):
    assert re.search(r"\S; [\d,]+ train, [\d,]+ validation, [\d,]+ test; fingerprint", Page(standard).all_text())


def test_near_duplicates_are_counted(standard):
    text = Page(standard).all_text()
    assert "2 of the 100 test images have a near duplicate in train, 1 of them an exact one" in text


def test_verdict_is_in_words(standard):
    text = Page(standard).all_text()
    spelled = "pca (principal components of the pixels)"
    show = "98 of 100 recommended pictures show the query's class (guessing: 10)."
    assert f"{spelled} scores highest, without a measurable lead over pixels and age: {show}" in text
    assert "By how muchpca leads by 0.2 points: 97.5 % against 97.3 % with pixels, the next." in text
    assert "Certain?Only in part: measurably better than random; no measurable difference from pixels and age." in text
    assert re.search(r"age vs. its own untrained network ▲ better", text)
    assert re.search(r"age vs. raw pixels ≈ no measurable difference", text)


def test_the_paper_stands_beside_ours_under_both_protocols(standard):
    text = section(standard, "paper")
    for number in ("43.2 %", "14.8 %", "16.2 %", "23.54 %", "19.46 %", "46.49 %", "12.79 %", "18.92 %", "19.59 %"):
        assert number in text
    assert "The datasets differ." in text
    page = Page(standard)
    assert any("grey" in attrs.get("class", "").split() for tag, attrs in page.tags if tag == "table")
    # AGE's chosen trial: train 0.58; self counted (1 + 2 * 0.58) / 3
    assert "k-NN precision@3, train43.2 % 72.0 %[70.0, 74.0]train, self-counting 58.0 %[56.0, 60.0]train, query" in text
    own = "lambda_z 500, mu_x 10of 3 settings"
    assert f"not reported; of {{500, 1000, 2000}} × {{10, 50}} {own} {own}" in text


def test_on_svhn_the_papers_numbers_are_not_grey(tmp_path):
    trials = fixture.standard_trials(dataset="svhn")[:4]
    page = Page(make(tmp_path, trials, fixture.STANDARD))
    assert "The datasets differ." not in page.all_text()
    assert not any("grey" in attrs.get("class", "").split() for tag, attrs in page.tags if tag == "table")


def test_collapsed_trials_appear_with_their_reason(standard):
    text = Page(standard).all_text()
    assert "✗ collapsed" in text
    assert fixture.REASON in text
    assert "1 of 7 trials gave no score" in text


def test_examples_mark_right_and_wrong_without_colour(standard):
    """As the template writes it, for readers without JavaScript: the first query, and two encoders."""
    page = Page(standard)
    marked = [attrs["class"] for tag, attrs in page.tags if tag == "li" and attrs.get("class") in ("right", "wrong")]
    assert len(marked) == 2 * 3 + 2 * 5  # beside the answer (k = 3) and among the neighbours, of two encoders each
    marked = marked[2 * 3 :]
    examples = section(standard, "neighbours")
    assert examples.count("✓ right: ") == marked.count("right") > 0
    assert examples.count("✗ wrong: ") == marked.count("wrong") > 0


def test_commands_rebuild_the_run(tmp_path):
    trials = [fixture.age(500, 10)]
    text = Page(make(tmp_path, trials, fixture.STANDARD, configfiles=["config/my paper.yaml"])).all_text()
    command = next(part for part in re.findall(r"snakemake --configfile .*?\.csv'?", text))
    assert shlex.split(command) == [
        "snakemake",
        "--configfile",
        "config/my paper.yaml",
        "--",
        "results/demo/digits/16px/age/lambda_z~500+mu_x~10+seed~0/knn.csv",
    ]


def test_one_encoder_without_training_renders(tmp_path):
    page = make(tmp_path, [fixture.trial("pixels", {})], fixture.STANDARD, commit=None)
    text = Page(page).all_text()
    assert "Only pixels (the picture as it is) could be scored" in text
    for name in ("training", "pictures", "selection", "atlas"):  # sections that have nothing to show
        assert f'id="{name}"' not in page
        assert f'href="#{name}"' not in page
    assert "The paper’s encoder is not in this experiment." in text
    assert "Ours is the chosen trial" not in text
    assert "not from a git checkout" in text
    assert "randomnot in this report" in text  # name and note are two elements


def test_all_collapsed_renders(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    text = Page(make(tmp_path, trials, {("age", one.name): None for one in trials})).all_text()
    assert "No encoder gave an embedding that could be scored." in text
    assert "2 of 2 trials gave no score" in text
    assert "No encoder has neighbours to show." in text
    assert "nan" not in text.lower().split()


def test_two_datasets_have_a_common_verdict_and_their_own_and_a_leaderboard_each(tmp_path):
    trials = [*fixture.standard_trials(dataset="svhn")[:2], *fixture.standard_trials()[:2]]
    made = make(tmp_path, trials, fixture.STANDARD)
    page = Page(made)
    said = section(made, "verdict")
    assert said.index("2 datasets and sizes together") < said.index("svhn, 16 px")
    best = "pixels (the picture as it is) recommends best: 97 of 100 recommended pictures show the query's class"
    assert said.count(best) == 3
    assert said.count("Certain?Measurably better than random.") == 3
    bodies = [attrs for tag, attrs in page.tags if tag == "tbody" and "data-dataset" in attrs]
    assert [(one["class"], one["data-dataset"]) for one in bodies] == [
        (kind, dataset) for dataset in ("svhn", "digits") for kind in ("rows", "constants")
    ]
    marks = [attrs["id"] for tag, attrs in page.tags if tag == "path" and "id" in attrs]
    assert len(set(marks)) == len(marks) == 6  # three figures of each: nothing was trained, and there is no grid
    assert marks == [attrs["href"].removeprefix("#") for tag, attrs in page.tags if tag == "use"]
    text = page.all_text()
    assert "Only the SVHN table is comparable." in text
    assert len([tag for tag, attrs in page.tags if tag == "table" and "paper" in attrs["class"].split()]) == 2


def test_a_missing_figure_is_one_line(tmp_path):
    trials = [fixture.trial("pixels", {})]
    results = write(tmp_path, trials, fixture.STANDARD)
    with pytest.raises(UserError, match="figure is missing"):
        html.report(fixture.experiment(results, trials), fixture.CONFIG, results, None)


def section(page, name):
    """The text of one section of a page."""
    start = page.index(f'<section id="{name}">')
    return Page(page[start : page.index("</section>", start) + len("</section>")]).all_text()


def test_every_score_stands_beside_chance_majority_random_and_pixels(standard):
    scores = section(standard, "scores")
    head = "Test score pca pixels age random ChanceMost common class"
    assert head in scores
    # in the order of the columns: 0.62, 0.60, 0.61 and 0.50, with interval and lift
    assert (
        "precision@3 62.0 %[60.0, 64.0]lift 57.8 % 60.0 %[58.0, 62.0]lift 55.6 % 61.0 %[59.0, 63.0]lift 56.7 % "
        "50.0 %[48.0, 52.0]lift 44.4 % 10.0 %–" in scores
    )
    assert re.search(r"SVM accuracy 82\.0 %.*? 10\.0 %12\.0 %", scores)
    assert scores.count(head) == 3  # headline, macro, other k
    folded = [attrs for tag, attrs in Page(standard).tags if tag == "details"]
    assert len(folded) >= 2


def test_random_and_pixels_are_named_even_if_they_are_not_there(tmp_path):
    trials = [fixture.trial("pca", {"components": 128}), fixture.age(500, 10)]
    text = Page(make(tmp_path, trials, fixture.STANDARD, full=True)).all_text()
    assert "Test score pca age randomnot in this report pixelsnot in this report" in text


def test_pairs_are_compared_in_words_and_signs(standard):
    text = section(standard, "pairs")
    # pca 97.5 %, random 92.8 %, paired
    assert re.search(r"pca · ?itself .*?▲ better\+4\.7\[\+", text)
    assert re.search(r"random ▼ worse−4\.7\[−", text)
    assert "≈ no measurable difference" in text
    for metric in ("k-NN accuracy@3", "SVM accuracy", "MAP@R"):
        assert f"The same at {metric}" in text
    assert "Over all datasets" not in text


def test_spaces_leaks_protocols_and_health_have_their_place(standard):
    assert "★ best on validation" in section(standard, "spaces")
    leaks = section(standard, "leaks")
    for words in (
        "the query counts itself 72.7 %",
        "the query is left out 59.0 %",
        "near duplicates of the query 61.5 %",
    ):
        assert words in leaks
    assert "2 of 100 test images have a near duplicate in train" in leaks
    rules = section(standard, "protocols")
    for words in (
        "Kobak: plain vote of 10 neighbours in cosine",
        "sd 1.3 over 10 draws",
        "fewer images than neighbours",
    ):
        assert words in rules
    health = section(standard, "health")
    assert "Gini index 0.80 0.80 0.80 0.80 0.70" in health
    assert "There is one seed of each setting" in health


def test_choices_without_labels_stand_beside_those_by_labels(standard):
    text = section(standard, "selection")
    # Of three scored settings the selector prefers a small lambda_z, which is the best on validation.
    assert "sliced Wasserstein distance" in text
    assert "the same as labels do" in text
    assert re.search(r"RankMe of the stack.*?lambda_z~1000\+mu_x~10\+seed~0 96\.9 %", text)
    assert "undefined: one of the two is constant" in text


def test_the_atlas_is_drawn_said_and_folded(standard):
    text = section(standard, "atlas")
    assert "age Of the single layers hidden2 (average) scores highest" in text
    assert "hidden3 (flatten) has the largest say: 90.0 % of the squared distance" in text
    assert "All 32 rows of age" in text
    assert "too wide for the probe" in text


def test_attributes_have_a_table_and_terms(tmp_path):
    trials = fixture.standard_trials()[:2]
    evil = "<b>Bald</b>"
    text = make(tmp_path, trials, fixture.STANDARD, full=True, attributes=[evil, "Hat"])
    assert evil not in text
    text = Page(text).all_text()
    assert evil in text
    assert "Precision@3 of each attribute" in text
    assert "attribute precision@3Of the 3 nearest pictures" in text


@pytest.mark.parametrize("evaluator", ["knn", "svm"])
def test_one_evaluator_is_enough(tmp_path, evaluator):
    trials = fixture.standard_trials()[:4]
    config = fixture.CONFIG | {"evaluators": {evaluator: {}}}
    text = make(tmp_path, trials, fixture.STANDARD, evaluators=[evaluator], config=config)
    assert ("SVM accuracy" in section(text, "scores")) == (evaluator == "svm")
    assert ("precision@3" in section(text, "scores")) == (evaluator == "knn")
    assert "nan" not in Page(text).all_text().lower().split()


def test_empty_tables_render(drawn, tmp_path):
    trials = fixture.standard_trials()
    results = tmp_path / "results/demo"
    shutil.copytree(drawn, results)
    for name in ("scores", "comparisons", "overall", "overall_pairs", "selection", "overlap", "atlas"):
        table = pd.read_csv(results / "tables" / f"{name}.csv")
        table.iloc[:0].to_csv(results / "tables" / f"{name}.csv", index=False)
    page = page_of(results, trials, drawn=True)
    text = Page(page).all_text()
    assert text.count("Nothing to show: no trial has these scores.") == 5
    assert "There are no two encoders to compare." in text
    assert 'id="selection"' not in page


def test_overlaps_and_means_over_datasets_are_shown_where_they_are(tmp_path):
    trials = fixture.standard_trials()[:2]
    results = write(tmp_path, trials, fixture.STANDARD)
    about = {"dataset": "digits", "size": 16, "encoder": "random", "setting": ""}
    found = {"seeds": 3, "k": 10, "overlap": 0.25, "chance": 0.02}
    pd.DataFrame([about | found, about | found | {"setting": "setting 7", "seeds": 7}]).to_csv(
        results / "tables" / "overlap.csv", index=False
    )
    row = {"encoder": "pixels", "metric": "precision", "datasets": 4, "value": 0.5, "low": 0.45, "high": 0.55}
    pd.DataFrame([row]).to_csv(results / "tables" / "overall.csv", index=False)
    text = Page(page_of(results, trials)).all_text()
    assert "random3" in text
    assert "setting 7" not in text  # only of chosen settings
    assert "25.0 %of the 10 nearest2.0 %" in text
    assert "There is one seed of each setting" not in text
    assert "Over all datasets" in text
    assert "precision@3, mean of 4 pixels50.0 %[45.0, 55.0]" in text


def test_several_seeds_are_said_to_be_averaged_elsewhere(tmp_path):
    trials = [fixture.trial("pixels", {}), fixture.age(500, 10), fixture.age(500, 10, seed=1)]
    values = fixture.STANDARD | {("age", trials[2].name): (0.96, 0.95, 0.96, 0.95)}
    page = make(tmp_path, trials, values)
    text = Page(page).all_text()
    sections = dict(re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL))
    said = {name for name, inside in sections.items() if "These are of the seed with the lowest number." in inside}
    assert said == {"leaks", "spaces", "scores", "over_k", "protocols"}  # there is no score of health here
    assert "Lists of different seeds" in text


def test_tables_scroll_inside_their_own_region(standard):
    """A wide table must not widen the page, and must be reached by keyboard."""
    assert ".scroll { position: relative; overflow-x: auto;" in standard  # else what is hidden sticks out of it
    page = standard.split("<body>")[1]
    for match in re.finditer(r"<table", page):
        before = page[: match.start()].rstrip()
        assert re.search(r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+">$', before)


def test_open_settings_are_counted_from_the_paired_differences():
    rows = [("age", "ok", True, ""), ("age", "ok", False, "worse"), ("age", "ok", False, "not resolved")]
    rows += [("age", "collapsed", False, ""), ("age", "ok", False, "worse"), ("lone", "ok", True, "")]
    grid = pd.DataFrame(rows, columns=["encoder", "status", "chosen", "beside_chosen"])
    assert open_settings(grid) == ["age: 1 of 3 trials of other settings is not measurably different from the chosen."]
    assert open_settings(grid[:0]) == []


@pytest.mark.parametrize("evaluators", [[], ["knn"]])
def test_without_scores_it_renders(tmp_path, evaluators):
    trials = fixture.standard_trials()[:4]
    results = write(tmp_path, trials, fixture.STANDARD, evaluators=evaluators)
    for name in ("scores", "comparisons", "overall", "overall_pairs", "selection", "overlap", "atlas"):
        table = pd.read_csv(results / "tables" / f"{name}.csv")
        table.iloc[:0].to_csv(results / "tables" / f"{name}.csv", index=False)
    page = Page(page_of(results, trials, fixture.CONFIG | {"evaluators": {name: {} for name in evaluators}}))
    assert page.open == []
    assert "nan" not in page.all_text().lower().split()
    said = (not evaluators) * 2  # under Leaderboard and under Runs
    assert page.all_text().count("Nothing was scored: no evaluator ran.") == said
    assert ("best on validation, scored on test" in page.all_text()) == bool(evaluators)
    assert "trials were scored." not in page.all_text()  # with k-NN, which has not ended here, they gave no score


def test_two_hundred_trials_are_a_page_that_can_be_read(tmp_path):
    """Of small pictures, and without figures: the size of both is looked after in test_sheets and test_figures."""
    trials = [fixture.trial("pixels", {}), fixture.age(10, 10)]
    values = {("pixels", "seed~0"): (0.9,) * 4} | {("age", one.name): (0.9,) * 4 for one in trials}
    results = write(tmp_path, trials, values, evaluators=["knn"])
    more = [fixture.age(10 * number, 10) for number in range(2, 201)]
    first = results / trials[1].folder
    noise = np.random.default_rng(0).integers(0, 256, (4 * 8, 16 * 8, 3), dtype=np.uint8)
    for name in ("samples.png", "reconstructions.png"):
        Image.fromarray(noise).save(first / name)
    for one in more:
        where = results / one.folder
        where.mkdir()
        for name in ("samples.png", "reconstructions.png"):
            (where / name).hardlink_to(first / name)
    text = page_of(results, [*trials, *more], fixture.CONFIG | {"evaluators": {"knn": {}}})
    assert len(text) < 4_000_000
    page = Page(text)
    assert "199 of 201 trials gave no score" in page.all_text()
    assert section(text, "runs").count("snakemake") == 201
    assert "The other 199 trials" in section(text, "pictures")
    pictures = [attrs for tag, attrs in page.tags if tag == "img" and attrs.get("alt", "").startswith("Samples of")]
    assert len(pictures) == 200
    assert all(attrs["loading"] == "lazy" for attrs in pictures)
    folded = [attrs for tag, attrs in page.tags if tag == "details" and attrs.get("class") == "whole"]
    assert folded == [{"class": "whole"}]  # not open


def test_no_text_from_outside_becomes_a_tag(tmp_path):
    """Classes, ids, reasons, the config, hosts, commits, log lines and sources of numbers, all of them hostile."""
    evil = "<script>alert(1)</script>"
    trials = fixture.standard_trials()
    results = write(tmp_path, trials, fixture.STANDARD, full=True, reasons={("age", trials[-1].name): evil})
    for one in trials:
        where = results / one.folder
        for name in ("status.json", "embed.json"):
            if (where / name).exists():
                about = json.loads((where / name).read_text())
                hostile = dict.fromkeys(("host", "device", "torch", "commit", "precision", "reason"), evil)
                write_json(where / name, about | hostile)
        log = results / "logs" / "embed" / where.relative_to(results).with_name(f"{where.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        text = f"2026-11-23 06:50:08 attempt 1 on {evil.replace(' ', '')}, process 5\nerror: {evil}\n"
        log.with_name(f"{where.name}.1.log").write_text(text)
    ladder = tmp_path / "ladder.csv"
    ladder.write_text(f"{','.join(COLUMNS)}\ndigits,{evil},accuracy,12,{evil},{evil},read,{evil},knn,\n")
    config = fixture.CONFIG | {"note": evil, "datasets": {"digits": {"sizes": [16], evil: evil}}}
    text = page_of(results, trials, config, commit=evil, configfiles=[evil], ladder_csv=ladder)
    page = Page(text)
    assert page.open == []
    assert evil not in text
    assert page.all_text().count(evil) > 20
    assert all("alert(1)" not in (attrs.get("src") or "") for _, attrs in page.tags)
    assert {attrs.get("type", "") for tag, attrs in page.tags if tag == "script"} <= {"", "application/json"}


def test_what_an_encoder_declares_of_its_training_is_said_in_leaderboard_and_verdict(tmp_path, monkeypatch):
    declared = registry.declared
    more = {"pca": {"LABELS": True}, "pixels": {"PRETRAINED": "photos"}}
    monkeypatch.setattr(registry, "declared", lambda kind, name: declared(kind, name) | more.get(name, {}))
    trials = fixture.standard_trials()[:3]
    trials[0] = replace(trials[0], options={"weights": "a.pth", "trained_on": "photos & texts"})
    results = write(tmp_path, trials, fixture.STANDARD)
    page = page_of(results, trials)
    for mark in ("trained with labels", "pretrained on photos & texts"):
        table, _, _ = section(page, "leaderboard").partition(r"\begin{tabular}")
        assert table.count(mark) == 1
    assert "pca (trained with labels)" in section(page, "verdict")
    assert "pixels (pretrained on photos & texts)" in section(page, "verdict")
    plain = (results / "tables/leaderboard.html").read_text()
    assert "pca (trained with labels)" in plain
    assert "pixels (pretrained on photos &amp; texts)" in plain


def test_without_a_grid_there_is_no_section_for_it(tmp_path):
    page = Page(make(tmp_path, fixture.standard_trials()[:3], fixture.STANDARD))
    assert not any(attrs.get("href") == "#grid" or attrs.get("id") == "grid" for _, attrs in page.tags)
