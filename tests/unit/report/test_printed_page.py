"""The report where it is not a window with a mouse: on paper, in forced colours, by keyboard, on a first screen."""

import json

import pytest
import report_evidence as evidence
import report_fixture as fixture
from test_html import page_of, section, write

pytestmark = pytest.mark.browser
A4 = 718  # CSS pixels that are left of 21 cm between margins of 1 cm
MORE = {
    "precomputed": {"file": "features of a long name.h5"},
    "pretrained": {"model": "resnet18", "input": 64, "weights": "", "trained_on": ""},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Six encoders with all that the evaluators measure, a grid, and a training that collapsed."""
    trials = [*fixture.standard_trials(), *(fixture.trial(name, options) for name, options in MORE.items())]
    values = fixture.STANDARD | {(one.encoder, one.name): (0.9, 0.9, 0.9, 0.9) for one in trials[-2:]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "LEVEL", evidence.LEVEL | dict.fromkeys(MORE, 0.55))
        results = write(tmp_path_factory.mktemp("printed"), trials, values, full=True, queries=12)
    about = results / trials[-1].folder / "embed.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"warnings": ["all features of 3 images are <zero>"]}))
    page_of(results, trials)
    return results / "report/index.html"


WIDE = "all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.textContent)"
FOLDED = "all => all.filter(one => !one.checkVisibility({contentVisibilityAuto: true})).length"
FIRST = (".conclusion", ".replies div >> nth=0", ".replies div:last-child", ".glance li:last-child")
PLOT = (".magnified li >> nth=5",)


def on_the_first_screen(page, width, height, marks=FIRST):
    boxes = {mark: page.locator(f"#verdict {mark}").last.bounding_box() for mark in marks}
    return [
        mark
        for mark, box in boxes.items()
        if box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
    ]


def test_on_paper_no_table_is_wider_than_the_page_and_nothing_is_folded(path, open_page):
    page = open_page(path, width=A4, java_script_enabled=False)
    page.emulate_media(media="print")
    assert page.locator("table, pre, img, svg, figure").evaluate_all(WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= A4 + 1  # halves of pixels
    assert page.locator("details > *:not(summary)").evaluate_all(FOLDED) == 0
    breaks = page.locator("h2, h3, h4, summary").evaluate_all("all => all.map(one => getComputedStyle(one).breakAfter)")
    assert set(breaks) == {"avoid"}


def test_on_a_desktop(path, open_page):
    page = open_page(path, height=800)
    assert on_the_first_screen(page, 1280, 800, FIRST + PLOT) == [*FIRST, *PLOT]
    page.locator("#runs-table thead button", has_text="Peak memory").click()
    values = page.locator("#runs-table tbody td[data-label='Memory, all jobs']")
    found = [float(one) for one in values.evaluate_all("all => all.map(one => one.dataset.value)")]
    assert found == sorted(set(found), reverse=True)
    assert page.locator("#runs-table thead [aria-sort]").get_attribute("aria-sort") == "descending"
    closed = page.locator("details:not([open])")
    before = closed.count()
    assert before > 0
    page.emulate_media(media="print")
    page.wait_for_function("!document.querySelector('details:not([open])')")
    page.emulate_media(media="screen")
    page.wait_for_function(f"document.querySelectorAll('details:not([open])').length === {before}")
    assert page.locator("#leaderboard .scroll[tabindex]").count() == 0
    begins = page.locator(".appendix").evaluate("one => one.getBoundingClientRect().top + scrollY")
    assert begins <= 10 * 800  # ten screens
    page.locator("nav a", has_text="All scores").click()
    assert page.locator("#scores table").first.is_visible()  # a link unfolds what it leads to


@pytest.mark.parametrize("width", [820, 1024])
def test_on_a_tablet_the_leaderboard_is_not_cut(path, open_page, width):
    page = open_page(path, width=width)
    assert page.locator("#leaderboard .scroll").evaluate("one => one.scrollWidth <= one.clientWidth + 1")
    assert page.locator("#board .figure").first.is_visible()


def test_on_a_phone(path, open_page):
    page = open_page(path, width=390, height=844)
    assert on_the_first_screen(page, 390, 844) == list(FIRST)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    boxes = page.locator(".scroll").evaluate_all(
        "all => all.map(one => [one.hasAttribute('tabindex'), one.scrollWidth > one.clientWidth + 1])"
    )
    assert all(takes == scrolls for takes, scrolls in boxes)
    assert {takes for takes, _ in boxes} == {True, False}


def test_in_forced_colours_dots_and_whiskers_can_be_seen(path, open_page):
    page = open_page(path, forced_colors="active")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for mark in (".magnified .dot", ".magnified .whisker", ".board .dot"):
        colours = page.locator(mark).evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
        assert colours
        assert ground not in colours
        assert not any("rgba" in colour for colour in colours)  # see-through


def test_what_embedding_warned_of_is_said_with_the_health(path):
    assert "pretrained all features of 3 images are <zero>" in section(path.read_text(encoding="utf-8"), "health")
