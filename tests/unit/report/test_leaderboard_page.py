"""The leaderboard, the runs and the ladder in a browser."""

import csv

import pytest
import report_fixture as fixture
from test_html import page_of, write

from visrec.report.ladder import COLUMNS

pytestmark = pytest.mark.browser
SHOWN = "tr[data-encoder]:visible"


def trials_of(*places):
    chosen = (0, 1, 2, 3)  # pixels, random, pca and one of age
    return [
        fixture.standard_trials(dataset=dataset, size=size)[number] for dataset, size in places for number in chosen
    ]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    trials = trials_of(("svhn", 16), ("svhn", 32), ("digits", 16))
    results = write(folder, trials, fixture.STANDARD)
    ladder = folder / "ladder.csv"
    row = f"svhn,published,accuracy,80.0,k=5,{'a long protocol ' * 8},read,https://a.example/{'x' * 90},knn,"
    ladder.write_text(f"{','.join(COLUMNS)}\n{row}\nsvhn,other,accuracy,1,k,p,read,s,,cosine\n")
    config = fixture.CONFIG | {"datasets": {"svhn": {"sizes": [16, 32]}, "digits": {"sizes": [16]}}}
    page_of(results, trials, config, ladder_csv=ladder)
    return results / "report/index.html"


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    trials = [*trials_of(("digits", 16))[:2], *(fixture.age(100 * number, 10) for number in range(1, 31))]
    values = {(one.encoder, one.name): (0.9,) * 4 for one in trials} | {("age", trials[-1].name): None}
    results = write(tmp_path_factory.mktemp("single"), trials, values, evaluators=["knn"])
    page_of(results, trials, fixture.CONFIG | {"evaluators": {"knn": {}}})
    return results / "report/index.html"


def names(page):
    return page.locator(f"#board {SHOWN}").evaluate_all("rows => rows.map(row => row.dataset.encoder)")


def constants(page):
    return page.locator("#board .constants:visible th").evaluate_all("cells => cells.map(cell => cell.firstChild.data)")


def test_filters_leave_chance_majority_random_and_pixels(several, open_page):
    page = open_page(several)
    said = page.locator("#board-filter output")
    assert said.get_attribute("aria-live") == "polite"
    assert said.inner_text() == "12 of 12 rows"
    page.locator("#board-filter").get_by_label("Dataset").select_option("digits")
    assert said.inner_text() == "4 of 12 rows"
    assert constants(page) == ["chance", "always the most common class"]
    for name in ("age", "pca"):
        page.get_by_role("checkbox", name=name).press("Space")  # by keyboard
    assert said.inner_text() == "2 of 12 rows"
    assert set(names(page)) == {"pixels", "random"}
    assert constants(page) == ["chance", "always the most common class"]
    page.locator("#board-filter").get_by_label("Dataset").select_option("svhn")
    page.locator("#board-filter").get_by_label("Size").select_option("32")
    assert said.inner_text() == "2 of 12 rows"
    page.locator("#board-filter").get_by_label("Size").select_option("")
    assert said.inner_text() == "4 of 12 rows"
    assert constants(page) == ["chance", "always the most common class"] * 2


def test_sorting_stays_within_a_dataset_and_says_its_direction(several, open_page):
    page = open_page(several)
    page.locator("#board-filter").get_by_label("Dataset").select_option("digits")
    assert names(page) == ["pca", "pixels", "age", "random"]  # by precision, as written
    head = page.locator("#board").get_by_role("columnheader", name="SVM accuracy")
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page) == ["age", "pca", "pixels", "random"]  # 96.2, 95.7, 95.2 and 94.0 %
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["random", "pixels", "pca", "age"]
    assert page.locator("#board [aria-sort]").count() == 1
    page.locator("#board-filter").get_by_label("Sort by").select_option(label="Encoder")
    assert names(page) == ["age", "pca", "pixels", "random"]
    page.locator("#board-filter").get_by_label("Dataset").select_option("")
    assert names(page) == ["age", "pca", "pixels", "random"] * 3
    last = page.locator("#board tbody").last
    assert "constants" in last.get_attribute("class")


def test_one_dataset_and_size_has_no_filter_for_them(single, open_page):
    page = open_page(single)
    for label in ("Dataset", "Size"):
        assert page.locator("#board-filter").get_by_label(label).count() == 0
    assert page.locator("#board-filter input").count() == 0  # age is the only one that is no reference
    assert page.locator("#board-filter output").inner_text() == "3 of 3 rows"


def test_without_javascript_every_row_is_there_and_no_dead_control(several, open_page):
    page = open_page(several, java_script_enabled=False)
    assert page.locator(f"#board {SHOWN}").count() == 12
    assert page.locator("#board .constants th:visible").count() == 6
    assert not page.locator("#board-filter").is_visible()
    assert page.locator("#board button").count() == 0


def test_many_runs_are_found_by_name_and_outcome(single, open_page):
    page = open_page(single)
    assert not page.locator("#runs-table").is_visible()
    page.get_by_label("Find").fill("lambda_z~2900")
    assert page.locator("#run-filter output").inner_text() == "1 of 32 trials"
    assert page.locator("#runs-table").is_visible()
    page.get_by_label("Find").fill("")
    page.get_by_label("without a score").check()
    assert page.locator("#run-filter output").inner_text() == "1 of 32 trials"
    row = page.locator("#runs-table tbody tr:visible")
    assert "collapsed" in row.inner_text()
    row.locator("summary").click()
    assert "snakemake results/" in row.locator("pre").inner_text().replace("'", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_page_does_not_scroll_sideways(several, open_page, scheme):
    page = open_page(several, width=390, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.body.scrollWidth") == 390
    page.locator("#board-filter").get_by_label("Sort by").select_option(
        label="SVM accuracy"
    )  # headings are hidden here
    assert names(page)[0] == "age"


def test_published_numbers_link_to_their_source_and_other_protocols_are_named(several, open_page):
    page = open_page(several)
    link = page.locator("#ladder td a").first
    assert link.get_attribute("href").startswith("https://a.example/")
    assert link.get_attribute("rel") == "noreferrer"
    assert page.locator("#ladder tr.other").count() == 1  # once, though svhn has two sizes
    assert page.locator("#ladder tr.other .apart").text_content() == "other protocol: cosine"
    assert page.locator("#ladder tr.ours").count() == 2 * 8  # of two sizes and two ladders


def test_tables_can_be_had_as_csv_and_headings_as_links(several, open_page):
    page = open_page(several)
    region = page.get_by_role("region", name="Leaderboard")
    with page.expect_download() as waited:
        region.get_by_role("button", name="Download as CSV: Leaderboard").click()
    assert waited.value.suggested_filename == "Leaderboard.csv"
    with waited.value.path().open(encoding="utf-8-sig", newline="") as file:
        rows = [*csv.reader(file)]
    assert rows[0][:2] == ["Encoder", "precision@3"]
    assert {len(row) for row in rows} == {len(rows[0])}
    pca = next(row for row in rows if row[0].startswith("pca"))
    assert pca[1] == "97.5 % [96.5, 98.5]"
    assert page.locator("#pairs h2 a").get_attribute("href") == "#pairs"
    texts = ["=1+1", "+cmd|x", "-2.5", "−2.5", "+4.7 %", "@x", "4,416 [1, 2]", "1,234\u00a0MB"]
    found = page.evaluate(
        "all => all.map((text) => cellText(Object.assign(document.createElement('td'), {textContent: text})))", texts
    )
    assert found == ["'=1+1", "'+cmd|x", "-2.5", "−2.5", "+4.7 %", "'@x", "4416 [1, 2]", "1234 MB"]
    duel = page.locator("#pairs td", has_text="better").first
    assert duel.evaluate("cell => cellText(cell)").startswith("better +")
