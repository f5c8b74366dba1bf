"""A visitor's walk through the report that the real workflow made, in Chromium, with no network."""

import re

import pytest

pytestmark = pytest.mark.browser


def contents(page):
    return page.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")


@pytest.fixture
def page(finished, open_page):
    return open_page(finished.results / "report/index.html", reduced_motion="reduce")


def test_every_entry_of_the_contents_leads_somewhere(page):
    targets = contents(page)
    assert "#ladder" not in targets  # nobody has published numbers for digits
    assert {"#verdict", "#leaderboard", "#paper", "#grid", "#neighbours", "#map", "#runs"} <= set(targets)
    for target in targets:
        page.locator(f'nav a[href="{target}"]').click()
        assert page.locator(f"{target}:target h2").count() == 1


def test_the_leaderboard_is_sorted_and_filtered(page):
    rows = page.locator("#board .rows tr[data-encoder]:visible")
    order = lambda: rows.evaluate_all("all => all.map(row => row.dataset.encoder)")  # noqa: E731
    assert sorted(order()) == ["age", "pca", "pixels", "random"]
    page.locator("#board thead button", has_text="Dimensions").click()
    assert order()[-1] == "pca"  # 16 values; it begins with the greatest
    page.locator("#board thead button", has_text="Dimensions").click()
    assert order()[0] == "pca"
    page.get_by_role("checkbox", name="pca").uncheck()
    assert sorted(order()) == ["age", "pixels", "random"]
    page.get_by_role("checkbox", name="age").uncheck()
    assert sorted(order()) == ["pixels", "random"]  # these stay


def test_examples_and_map_follow_each_other(page):
    page.locator(".examples .encoder").last.select_option(label="random")
    said = page.locator(".examples .says").inner_text()
    page.locator(".examples input").first.focus()
    page.keyboard.press("ArrowRight")
    now = page.locator(".examples .says").inner_text()
    assert now != said
    assert re.fullmatch(r"query \S+, label \d; age: \d of 3 right; random: \d of 3 right", now)
    asked = page.locator(".examples .asked .pic").get_attribute("aria-label")
    ring = page.locator(".map .ring").evaluate("ring => ring.style.transform || ring.getAttribute('transform')")
    page.locator(".examples input").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".examples .asked .pic").get_attribute("aria-label") != asked
    assert page.locator(".map .ring").evaluate("ring => ring.style.transform || ring.getAttribute('transform')") != ring


def test_a_failed_training_is_named_with_its_reason(page):
    row = page.locator("#runs tbody tr", has_text="learning_rate~1e30").first
    assert "diverged" in row.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(finished, open_page, width, scheme):
    page = open_page(finished.results / "report/index.html", width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look = "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    ground, ink = page.evaluate(look)
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink)]
    assert (light[0] > light[1]) == (scheme == "light")


def test_it_prints(page):
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 60
