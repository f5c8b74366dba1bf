"""Figures and curves of the page in a browser: their colours, their names, and what is read out at a curve."""

import re
import shutil

import pandas as pd
import pytest
import report_evidence as evidence
import report_fixture as fixture
from test_html import page_of

from visrec.report import style

pytestmark = pytest.mark.browser
CHOSEN = "age: lambda_z 500, mu_x 10 (chosen)"


@pytest.fixture(scope="module")
def path(drawn, tmp_path_factory):
    results = tmp_path_factory.mktemp("figures") / "results/demo"
    shutil.copytree(drawn, results)
    evidence.write_scores(results / "tables", fixture.standard_trials(), fixture.STANDARD)
    page_of(results, fixture.standard_trials(), drawn=True)
    return results / "report/index.html"


def unfolded(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    return page


def colours(page, what, name):
    return set(page.locator(what).evaluate_all(f"all => all.map(one => getComputedStyle(one).{name})"))


def rgb(colour):
    return f"rgb({', '.join(str(int(colour[place : place + 2], 16)) for place in (1, 3, 5))})"


def said(page):
    return page.locator(".readout").inner_text().split("\n")


def readings(drawn):
    """history.csv of the chosen setting of AGE."""
    return pd.read_csv(drawn / fixture.age(500, 10).folder / "history.csv")


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_figures_have_the_colours_of_the_look(path, open_page, theme):
    page = unfolded(open_page(path, color_scheme="light" if theme == "light" else "dark"))
    page.emulate_media(media="print" if theme == "print" else "screen")
    side = "dark" if theme == "dark" else "light"
    ground = "rgb(255, 255, 255)" if theme == "print" else rgb(style.GROUND[side])
    assert colours(page, "body", "backgroundColor") == {ground}
    assert colours(page, "#training .panel > path:first-of-type >> nth=0", "fill") == {ground}
    assert colours(page, "#training svg text", "fill") == {rgb(style.INK[side]), rgb(style.MUTED[side])}
    shades = {rgb(shade) for shade in style.shades(style.encoder_colours(["age"])["age"], side)}
    assert colours(page, "#training .curve path", "stroke") == shades
    cells = colours(page, "#grid svg path", "fill")
    assert rgb(style.OPEN[side]) in cells
    assert rgb(style.OPEN["light" if side == "dark" else "dark"]) not in cells
    assert page.locator(".readout").count() == 1


def test_in_forced_colours_text_and_curves_can_be_seen(path, open_page):
    page = unfolded(open_page(path, forced_colors="active"))
    (ground,), (ink,) = colours(page, "body", "backgroundColor"), colours(page, "body", "color")
    assert colours(page, ".drawn svg text", "fill") == {ink}
    assert colours(page, "#training .panel > path:first-of-type >> nth=0", "fill") == {ground}
    assert ground not in colours(page, ".drawn .curve path", "stroke") | colours(page, ".drawn use", "stroke")


def test_one_layout_is_shown_and_it_has_a_name(path, open_page):
    page = unfolded(open_page(path))
    for width, place in ((1280, 0), (390, 1)):
        page.set_viewport_size({"width": width, "height": 900})
        shown = page.locator("#training .drawn svg").evaluate_all("all => all.map(one => one.checkVisibility())")
        assert shown == [place == 0, place == 1]
        assert page.get_by_role("figure", name="Training curves of digits, 16 px").count() == 1
        assert page.get_by_role("figure", name="Heat maps of validation scores").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_value_at_the_pointer_is_that_of_the_history(path, open_page, drawn):
    page = unfolded(open_page(path))
    assert not page.locator(".readout").is_visible()
    curve = page.locator("#training svg").first.locator("[aria-label*='(chosen)'] path").nth(1)
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    page.mouse.move(box["x"] + box["width"], box["y"] + 1)  # the end of a curve that rises
    label, value = said(page)
    assert label == CHOSEN
    title, number, iteration = re.fullmatch(r"(.+): ([\d.]+) at iteration (\d+)", value).groups()
    last = readings(drawn).iloc[-1]
    assert (title, int(iteration)) == ("Cosine of z and e(g(z))", last["iteration"])
    assert float(number) == pytest.approx(last["latent_cosine"], abs=0.006)  # two digits, as exact as it is drawn
    mark = page.locator(".spot").bounding_box()
    assert mark["x"] + mark["width"] / 2 == pytest.approx(box["x"] + box["width"], abs=1.5)
    page.mouse.move(2, 2)
    assert not page.locator(".readout").is_visible()


def test_curves_are_walked_with_the_keyboard(path, open_page, drawn):
    page = unfolded(open_page(path))
    history = readings(drawn)
    page.locator("#training summary").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Training curves")
    while said(page)[0] != CHOSEN:
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    assert said(page)[1].endswith(f" at iteration {history['iteration'].iloc[0]}")
    page.keyboard.press("ArrowLeft")  # no further
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    row = history.iloc[3]
    title, number = re.fullmatch(r"(.+): ([\d.]+) at iteration (\d+)", said(page)[1]).groups()[:2]
    assert said(page)[1].endswith(f" at iteration {row['iteration']:.0f}")
    assert title == "Encoder's loss"
    assert float(number) == pytest.approx(row["loss_encoder"], abs=0.01)
    page.keyboard.press("ArrowDown")  # of this panel the last is the chosen, which is drawn on top
    assert said(page)[0] != CHOSEN
    assert said(page)[1].startswith("Cosine of z and e(g(z)): ")
    assert said(page)[1].endswith(f" at iteration {row['iteration']:.0f}")
    page.keyboard.press("Escape")
    assert not page.locator(".readout").is_visible()
    plot = page.locator("#over_k .plot")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert said(page)[0].replace("\N{NO-BREAK SPACE}", " ") == "pca: 62.0 % [60.0, 64.0] at k = 3"
    page.keyboard.press("ArrowDown")
    assert re.match(r"\w+: .* at k = 3", said(page)[0])


def test_without_javascript_curves_have_tooltips(path, open_page):
    page = open_page(path, java_script_enabled=False)
    titles = page.locator("#training svg >> nth=0").locator(".curve > title").all_text_contents()
    assert titles.count(CHOSEN) == 10  # one in each panel
    assert page.locator("#over_k .plot g > title").first.text_content().startswith("pca: 62.4")
    assert page.locator("#over_k .point").first.get_attribute("title").startswith("pca: 62.4")
    assert page.locator('[tabindex="0"]:is(svg, .plot)').count() == 0
