import re
import shlex
from html.parser import HTMLParser

import pytest
import report_fixture as fixture
from test_tables import write

from visrec import store
from visrec.errors import UserError
from visrec.report import FIGURES, html, plots

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


def make(root, trials, values, *, config=None, commit="abc1234", configfiles=(), drawn=False, **more):
    results = write(root, trials, values, **more)
    if drawn:
        plots.figures(results / "tables", results, trials, results / "figures")
    else:  # drawing is slow, and tested elsewhere
        for one in trials:
            for name in FIGURES:
                store.write_text(results / "figures" / one["dataset"] / f"{one['size']}px" / name, "<svg/>")
    out = results / "report" / "index.html"
    html.report(
        results,
        "demo",
        fixture.dumped(trials),
        results / "tables",
        results / "figures",
        out,
        config or fixture.CONFIG,
        commit,
        3,
        5,
        configfiles=configfiles,
    )
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    return make(tmp_path_factory.mktemp("html"), fixture.standard_trials(), fixture.STANDARD, drawn=True)


def test_is_well_formed_and_small(standard):
    page = Page(standard)
    assert page.open == []
    assert len(standard) < 2_000_000
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {anchor.removeprefix("#") for anchor in anchors} <= set(ids)


def test_needs_no_network(standard):
    page = Page(standard)
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert attrs.get(name, "#").startswith(("data:", "#")), (tag, name, attrs[name][:60])
    assert not re.search(r"url\(|@import|https?:", standard)
    assert not any(tag in ("link", "iframe", "object") for tag, _ in page.tags)


def test_data_is_escaped(standard):
    page = Page(standard)
    assert "<script>alert(1)" not in standard
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert '<script>alert(1)</script>"' in page.all_text()  # the class of a neighbour, as text
    assert "node<1>" in page.all_text()
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_config_and_reason_are_escaped(tmp_path):
    trials = [fixture.age(500, 10)]
    evil = "</code></script><img src=x onerror=alert(1)>"
    text = make(
        tmp_path, trials, {("age", trials[0]["trial"]): None},
        config=fixture.CONFIG | {"note": evil}, commit=evil, reasons={("age", trials[0]["trial"]): evil},
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


def test_near_duplicates_are_counted(standard):
    text = Page(standard).all_text()
    assert "2 of the 100 test images have a near duplicate in train, 1 of them an exact one" in text


def test_verdict_is_in_words(standard):
    text = Page(standard).all_text()
    assert (
        "pca scores highest at precision@3 and is better than random, but is not resolved from pixels and age." in text
    )
    assert re.search(r"age beside its own untrained network ▲ better", text)
    assert re.search(r"age beside raw pixels ≈ not resolved", text)


def test_the_paper_stands_beside_ours_under_both_protocols(standard):
    page = Page(standard)
    text = page.all_text()
    for number in (
        "43.2 %",
        "14.8 % (derived)",
        "16.2 %",
        "23.54 %",
        "19.46 %",
        "46.49 %",
        "12.79 %",
        "18.92 %",
        "19.59 %",
    ):
        assert number in text
    assert "The datasets differ." in text
    assert any("grey" in attrs.get("class", "").split() for tag, attrs in page.tags if tag == "table")
    # AGE's chosen trial: val 0.968, so train 0.958; self counted (1 + 2 * 0.958) / 3
    assert "the query counts itself; train43.2 %97.2 %" in text
    assert "the query left out; train14.8 % (derived)95.8 %" in text


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


def test_gallery_marks_right_and_wrong_without_colour(standard):
    page = Page(standard)
    marked = [attrs["class"] for tag, attrs in page.tags if tag == "li" and attrs.get("class") in ("right", "wrong")]
    assert len(marked) == 3 * 4 * 5  # queries, encoders, neighbours
    text = page.all_text()
    gallery = text[text.index("Nearest neighbours") : text.index("Runs 1 of 7")]
    assert gallery.count("✓ right: ") == marked.count("right") > 0
    assert gallery.count("✗ wrong: ") == marked.count("wrong") > 0
    radios = [attrs for tag, attrs in page.tags if tag == "input"]
    assert [attrs["value"] for attrs in radios] == ["1", "2", "3"]


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
    text = Page(make(tmp_path, [fixture.trial("pixels", {})], fixture.STANDARD, commit=None)).all_text()
    assert "Only pixels could be scored" in text
    assert "No network was trained here" in text
    assert "not from a git checkout" in text
    assert "randomnot in this experiment" in text  # name and note are two elements


def test_all_collapsed_renders(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    text = Page(make(tmp_path, trials, {("age", one["trial"]): None for one in trials})).all_text()
    assert "No encoder gave an embedding that could be scored." in text
    assert "2 of 2 trials gave no score" in text
    assert "No encoder has neighbours to show." in text
    assert "nan" not in text.lower().split()


def test_two_datasets_have_their_own_verdict_and_leaderboard(tmp_path):
    trials = [*fixture.standard_trials(dataset="svhn")[:2], *fixture.standard_trials()[:2]]
    page = Page(make(tmp_path, trials, fixture.STANDARD))
    boards = [attrs for tag, attrs in page.tags if tag == "table" and "board" in attrs.get("class", "").split()]
    assert len(boards) == 2
    text = page.all_text()
    assert "Only the SVHN column is comparable." in text
    assert "Ours, svhn, 16 px" in text
    assert "Ours, digits, 16 px" in text


def test_a_missing_figure_is_one_line(tmp_path):
    trials = [fixture.trial("pixels", {})]
    results = write(tmp_path, trials, fixture.STANDARD)
    with pytest.raises(UserError, match="figure is missing"):
        html.report(
            results,
            "demo",
            trials,
            results / "tables",
            results / "figures",
            results / "x.html",
            fixture.CONFIG,
            None,
            3,
            5,
        )


def test_an_unknown_neighbour_is_one_line(tmp_path):
    trials = [fixture.trial("pixels", {})]
    results = fixture.build(tmp_path, trials, fixture.STANDARD)
    with pytest.raises(UserError, match="names image 'elsewhere'"):
        html.thumbnails(results / "digits" / "16px" / "images.h5", "train", ["digit-1", "elsewhere"])
