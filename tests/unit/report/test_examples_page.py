"""The report's examples and map, in a browser and as the template writes them."""

import json
import re

import pandas as pd
import pytest
import report_fixture as fixture
from test_html import Page, make, page_of, section, write

from visrec.data.images import read_images
from visrec.report.map import HEIGHT, WIDTH
from visrec.scoring import queries

AGE = "lambda_z~500+mu_x~10+seed~0"  # the chosen one
EVIL = "<script>alert(1)</script>"


def encoders(page):
    return page.locator(".examples .answer .name").all_inner_texts()


def said(page):
    return page.locator(".examples .says").inner_text()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page of seven trials, of which one collapsed, with 30 queries and 40 points."""
    results = write(tmp_path_factory.mktemp("examples"), fixture.standard_trials(), fixture.STANDARD, queries=30)
    page_of(results, fixture.standard_trials())
    return results / "report" / "index.html"


@pytest.fixture
def page(open_page, path):
    return open_page(path, reduced_motion="reduce")


@pytest.mark.browser
def test_another_query_by_keyboard(page):
    assert encoders(page) == ["age", "pixels"]
    assert said(page).startswith("query digit-400, label 4; age: ")
    page.locator(".examples input").first.focus()
    page.keyboard.press("ArrowRight")
    assert said(page).startswith("query digit-401, label 5; age: ")
    right, wrong = (page.locator(f".examples .answer:first-child .{word}").count() for word in ("right", "wrong"))
    assert right + wrong == 5
    assert f"age: {right} of 5 right; pixels: " in said(page)
    assert page.locator(".examples .asked b").inner_text() == "5"
    assert page.locator(".examples li .pic").first.get_attribute("aria-label").startswith("train picture digit-")


@pytest.mark.browser
def test_other_encoders(page):
    page.locator(".examples .encoder").first.select_option(label="pca")
    page.locator(".examples .encoder").last.select_option(label="random")
    assert encoders(page) == ["pca", "random"]
    assert re.fullmatch(r"query digit-400, label 4; pca: \d of 5 right; random: \d of 5 right", said(page))
    dots = page.locator(".examples .answer .name").evaluate_all("all => all.map(one => one.style.cssText)")
    assert len(set(dots)) == 2  # each in its own colour


@pytest.mark.browser
def test_the_selections_are_those_of_the_data(page):
    data = json.loads(page.locator("#data-d1").inner_text())["examples"]
    assert [one["name"] for one in data["selections"]] == [
        "typical queries", "hardest queries", "most disagreed", "biggest hubs",
    ]  # fmt: skip
    names = [encoder["name"] for encoder in data["encoders"]]
    for number, selection in enumerate(data["selections"]):
        page.locator(".examples .selection").select_option(str(number))
        offered = page.locator(".examples input").evaluate_all("all => all.map(one => Number(one.value))")
        assert offered == selection["items"][names.index("age")]
        assert page.locator(".examples .about").inner_text() == selection["about"]
        assert said(page).startswith(data["items"][offered[0]]["says"])
    assert said(page).startswith("hub digit-")
    assert page.locator(".examples .far").first.inner_text().startswith("rank ")
    page.locator(".examples .encoder").first.select_option(label="pixels")
    offered = page.locator(".examples input").evaluate_all("all => all.map(one => Number(one.value))")
    assert offered == data["selections"][-1]["items"][names.index("pixels")]


@pytest.mark.browser
def test_what_the_template_writes_is_what_the_page_shows(open_page, path):
    before = open_page(path, java_script_enabled=False)
    after = open_page(path)
    for where in (".examples .asked", ".examples .answers", ".map .trust"):
        texts = [re.sub(r"\s+", " ", one.locator(where).inner_text()) for one in (before, after)]
        assert texts[0] == texts[1] != ""
    places = "all => all.map(one => getComputedStyle(one).backgroundPosition)"
    assert len({str(one.locator(".examples .query .pic").evaluate_all(places)) for one in (before, after)}) == 1
    assert not before.locator(".examples select").first.is_visible()
    assert before.locator(".map .point").count() == after.locator(".map .point").count() == 40


def spot(page, number):
    """Where a point of the map is in the window."""
    data = json.loads(page.locator("#data-d1").inner_text())
    drawn = data["map"]["encoders"][page.locator(".map .encoder").evaluate("one => Number(one.value)")]
    x, y = drawn["maps"][page.locator(".map .method").input_value()]["places"][number]
    box = page.locator(".map svg").bounding_box()
    return box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT


def lone(page):
    """Points that have no other near, so that the pointer means them: examples's queries first, then others."""
    data = json.loads(page.locator("#data-d1").inner_text())
    drawn = data["map"]["encoders"][data["map"]["first"]]["maps"]["tsne"]["places"]
    alone = [
        number
        for number, (x, y) in enumerate(drawn)
        if all(abs(x - a) + abs(y - b) > 60 for other, (a, b) in enumerate(drawn) if other != number)
    ]
    asked = {item["asked"] for item in data["examples"]["items"] if item["kind"] == "query"}
    queries = [number for number in alone if data["map"]["points"][number] in asked]
    return queries, [number for number in alone if number not in queries]


@pytest.mark.browser
def test_pointing_shows_the_picture(page):
    page.locator(".map svg").scroll_into_view_if_needed()
    queries, others = lone(page)
    page.mouse.move(*spot(page, others[0]))
    assert f"digit-{400 + others[0]}" in page.locator(".map .asked").inner_text()
    assert (
        page.locator(".map .asked .pic").get_attribute("aria-label").startswith(f"test picture digit-{400 + others[0]}")
    )
    assert not page.locator(".map .asked a").count()
    page.mouse.move(*spot(page, queries[0]))
    assert f"digit-{400 + queries[0]}" in page.locator(".map .asked").inner_text()
    assert page.locator(".map .asked a").get_attribute("href") == "#examples-d1"


@pytest.mark.browser
@pytest.mark.parametrize("touch", [False, True])
def test_a_click_on_the_map_and_the_examples_follows(open_page, path, touch):
    page = open_page(path, width=390 if touch else 1280, has_touch=touch, reduced_motion="reduce")
    page.locator(".map svg").scroll_into_view_if_needed()
    number = next(one for one in lone(page)[0] if one > 2)  # not one of the typical, among which is what is shown
    (page.touchscreen.tap if touch else page.mouse.click)(*spot(page, number))
    assert said(page).startswith(f"query digit-{400 + number}, ")
    assert page.locator(".examples .selection").input_value() != "0"
    assert page.locator(".examples input:checked").count() == 1
    assert page.locator(".map [aria-selected=true]").get_attribute("aria-label").startswith(f"digit-{400 + number}, ")
    ring, point = (
        page.locator(f".map {one}").evaluate("one => one.style.transform")
        for one in (".ring", f".point >> nth={number}")
    )
    assert ring == point


@pytest.mark.browser
def test_the_examples_is_ringed_on_the_map(page):
    selected = page.locator(".map [aria-selected=true]")
    assert selected.get_attribute("aria-label") == "digit-400, label 4, among the examples"
    page.locator(".examples input").nth(1).check(force=True)
    assert selected.get_attribute("aria-label").startswith("digit-401, ")
    page.locator(".examples .selection").select_option("3")  # a hub is no point of the map
    assert not selected.count()
    assert page.locator(".map .ring").get_attribute("hidden") is not None


@pytest.mark.browser
def test_arrows_go_to_the_nearest_in_their_direction(page):
    data = json.loads(page.locator("#data-d1").inner_text())["map"]
    places = data["encoders"][data["first"]]["maps"]["tsne"]["places"]
    start = min(range(40), key=lambda one: abs(places[one][0] - WIDTH / 2) + abs(places[one][1] - HEIGHT / 2))
    page.locator(".map .point").nth(start).focus()
    x, y = places[start]
    right = [one for one in range(40) if places[one][0] - x > 0 and abs(places[one][1] - y) <= places[one][0] - x]
    expected = min(right, key=lambda one: (places[one][0] - x) ** 2 + (places[one][1] - y) ** 2)
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(f"digit-{400 + expected}, ")
    assert f"digit-{400 + expected}" in page.locator(".map .asked").inner_text()
    assert page.locator(".map .point[tabindex='0']").count() == 1
    page.locator(".map .point").nth(2).focus()
    page.keyboard.press("Enter")
    assert said(page).startswith("query digit-402, ")


@pytest.mark.browser
def test_another_encoder_and_method_move_the_points(page):
    before = page.locator(".map .point").first.evaluate("one => one.style.transform")
    page.locator(".map .method").select_option("pca")
    assert page.locator(".map .trust").inner_text() == "age, PCA: trustworthiness 0.80 of 1"
    between = page.locator(".map .point").first.evaluate("one => one.style.transform")
    page.locator(".map .encoder").select_option(label="random")
    after = page.locator(".map .point").first.evaluate("one => one.style.transform")
    assert len({before, between, after}) == 3
    assert page.locator(".map .point").first.evaluate("one => getComputedStyle(one).transitionProperty") == "none"


@pytest.mark.browser
def test_names_from_outside_are_text(open_page, path):
    """A class is called <script>alert(1)</script>": in the legend, below a neighbour, beside the map."""
    page = open_page(path)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    data = json.loads(page.locator("#data-d1").inner_text())
    number = next(
        one for one, about in enumerate(data["pictures"]) if EVIL in about["label"] and about["split"] == "test"
    )
    page.locator(".map .point").nth(data["map"]["points"].index(number)).focus()
    assert page.locator(".map .asked b").inner_text() == f'{EVIL}"'
    assert f'{EVIL}"' in page.locator(".map .classes").inner_text()
    assert page.locator("main script:not([type='application/json'])").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(open_page, path, width):
    page = open_page(path, width=width)
    for number in range(4):
        page.locator(".examples .selection").select_option(str(number))
        boxes = page.locator("#neighbours *, #map *").evaluate_all(
            "all => all.filter(one => !one.closest('.hidden')).map(one => one.getBoundingClientRect().right)"
        )
        assert max(boxes) <= width


@pytest.mark.browser
def test_a_picture_is_the_one_of_images_h5(page, path):
    """The pixels on the screen are those of the query, enlarged."""
    shot = page.locator(".examples .asked .pic").screenshot()
    middle = page.evaluate(
        """async (bytes) => {
          const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
          const canvas = new OffscreenCanvas(16, 16);
          canvas.getContext("2d").drawImage(image, 0, 0, 16, 16);
          return [...canvas.getContext("2d").getImageData(0, 0, 16, 16).data].filter((_, i) => i % 4 === 0);
        }""",
        list(shot),
    )
    images = read_images(path.parents[1] / "digits/16px/images.h5", "test").images[0, 0].ravel().astype(int)
    assert sum(abs(images - middle)) / len(middle) < 12


def test_data_goes_to_the_page_as_json_that_no_name_can_leave(path):
    text = path.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data-d1">(.*?)</script>', text, re.DOTALL)
    assert "<" not in data
    assert f'{EVIL}"' in {one["label"] for one in json.loads(data)["pictures"]}


def test_without_any_neighbours_and_points(tmp_path):
    trials = [fixture.age(500, 10), fixture.age(1000, 10)]
    text = make(tmp_path, trials, {("age", one.name): None for one in trials})
    assert "No encoder has neighbours to show." in section(text, "neighbours")
    assert "No encoder has points to show." in section(text, "map")
    assert "background-image" not in text
    assert 'type="application/json"' not in text


def test_one_encoder_has_one_row(tmp_path):
    text = make(tmp_path, [fixture.trial("pixels", {})], fixture.STANDARD)
    examples = text[text.index('<section id="neighbours">') : text.index('<section id="map">')]
    selects = [attrs.get("class") for tag, attrs in Page(examples).tags if tag == "select"]
    assert selects == ["selection", "encoder"]
    assert "most disagreed" not in section(text, "neighbours")


@pytest.mark.browser
def test_an_encoder_without_neighbours_and_without_labels(tmp_path, open_page):
    trials = [fixture.trial("pixels", {}), fixture.trial("random", {"latent": 128}), fixture.age(500, 10)]
    results = write(tmp_path, trials, fixture.STANDARD | {("age", AGE): None}, queries=30)
    for name in ("pixels", "random"):
        folder = results / f"digits/16px/{name}/seed~0"
        for file, columns in (("neighbours", ["query_label", "label", "correct"]), ("projection", ["label"])):
            table = pd.read_csv(folder / f"{file}.csv")
            table[columns] = ""
            table.to_csv(folder / f"{file}.csv", index=False)
    assert set(queries.COLUMNS) == set(pd.read_csv(folder / "neighbours.csv"))
    page_of(results, trials)
    page = open_page(results / "report/index.html")
    assert said(page) == "query digit-400; pixels: 5 pictures; random: 5 pictures"
    assert page.locator(".examples .tick").count() == 0
    page.locator(".examples .encoder").first.select_option(label="age")
    assert said(page) == "query digit-400; age: no neighbours: collapsed; random: 5 pictures"
    assert page.locator(".examples .selection option").all_inner_texts() == [
        "typical queries", "most disagreed", "biggest hubs",
    ]  # fmt: skip
    page.locator(".examples .selection").select_option(label="biggest hubs")
    assert said(page) == "age has none."
    page.locator(".examples .encoder").first.select_option(label="pixels")
    assert said(page).startswith("hub digit-")
    assert page.locator(".map .point circle").count() >= 40
    assert page.locator(".map .classes").count() == 0
