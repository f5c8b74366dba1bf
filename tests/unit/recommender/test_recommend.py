"""What a shop gets for its photos: a CSV file and a page."""

import csv
import html
import logging
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from recommender_fixture import make, save, shade

from visrec.data.files import write_text
from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.recommender import recommend as module
from visrec.recommender.choice import COSTS, SCORES, VALIDATED
from visrec.recommender.page import by_reason, pictures
from visrec.recommender.recommend import TrialChoice, recommend, spelled

PLANNED = ("pixels/seed~0", "as the config says")
NAMED = TrialChoice("shoes", 16, PLANNED)
OPTIONS = {
    "features": "raw",
    "distance": "l2",
    "k": 3,
    "gallery": "",
    "approximate_above": 1000,
    "recall": 0.95,
    "shown": 100,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("recommend"))


@pytest.fixture
def ask(made, monkeypatch):
    """Recommend with options; gives the rows of the CSV file and the text of the page."""
    monkeypatch.chdir(made)

    def asked(query, catalogue=None, **options):
        recommend("experiment", query, OPTIONS | options, NAMED, catalogue, "cpu", 2)
        folder = made / "experiment/recommend"
        with (folder / "recommendations.csv").open(encoding="utf-8", newline="") as file:
            return [*csv.DictReader(file)], (folder / "recommendations.html").read_text()

    return asked


def test_lines_of_the_csv_by_hand(ask, made):
    rows, _ = ask("photos/boots")
    assert len(rows) == 5 * 3
    values = np.stack([shade(i) for i in range(30)]).reshape(30, -1) / 255
    for number in range(5):
        distances = np.sqrt(((values - shade(300 + number).reshape(-1) / 255) ** 2).sum(axis=1))
        order = np.argsort(distances)[:3]
        mine = [row for row in rows if row["query"] == f"photos/boots/{number}.png"]
        assert [row["rank"] for row in mine] == ["1", "2", "3"]
        assert [row["id"] for row in mine] == [f"train{row}" for row in order]
        assert [float(row["distance"]) for row in mine] == pytest.approx(distances[order], rel=1e-5)
        assert [row["label"] for row in mine] == [("left", "right")[row % 2] for row in order]
        assert {row["path"] for row in mine} == {""}
    text = (made / "experiment/recommend/recommendations.csv").read_text()
    assert text.startswith('"query","rank","id","path","distance","label","closer_than"\n"photos/boots/0.png",1,"train')
    pairs = np.sqrt(((values[:, None] - values) ** 2).sum(axis=2)) + 1e9 * np.eye(30)
    assert [float(row["closer_than"]) for row in rows] == pytest.approx(
        [np.mean(pairs.min(axis=1) > float(row["distance"])) for row in rows], abs=1e-4
    )


def test_the_distance_is_the_one_that_was_asked_for(ask):
    rows, page = ask("photos/boots", distance="cosine")
    values = np.stack([shade(i) for i in range(30)]).reshape(30, -1) / 255
    first = shade(300).reshape(-1) / 255
    distances = np.linalg.norm(values / np.linalg.norm(values, axis=1)[:, None] - first / np.linalg.norm(first), axis=1)
    mine = [row for row in rows if row["query"] == "photos/boots/0.png"]
    assert [row["id"] for row in mine] == [f"train{row}" for row in np.argsort(distances)[:3]]
    assert [float(row["distance"]) for row in mine] == pytest.approx(np.sort(distances)[:3], rel=1e-3)
    assert "Distances are L2 between features brought to length 1" in page


def test_a_folder_of_the_dataset_is_the_gallery_with_its_classes(ask):
    rows, page = ask("photos/boots/0.png", {"path": "photos", "labels": ""})
    assert {row["label"] for row in rows} <= {"boots", "shoes"}
    assert all(row["path"] == f"photos/{row['label']}/{row['path'][-5:]}" for row in rows)
    assert "the folder photos" in page


def test_a_query_that_is_in_the_gallery_is_not_in_its_own_list(ask, made, caplog):
    caplog.set_level(logging.INFO, "visrec")
    rows, page = ask("photos/shoes/7.png", {"path": "photos", "labels": ""}, k=9)
    assert len(rows) == len({row["path"] for row in rows}) == 9  # all others
    assert "photos/shoes/7.png" not in {row["path"] for row in rows}
    assert min(float(row["distance"]) for row in rows) > 1
    text = " ".join(html.unescape(page).split())
    assert "in the gallery itself, as shoes/7.png; left out of its list" in text
    assert "1 of them is in the gallery itself" in text
    assert "1 in the gallery themselves, and left out of their own lists" in caplog.text
    # Another file with the same pixels is another picture.
    image = Image.open(made / "photos/shoes/7.png")
    image.save(made / "copied.bmp")
    rows, page = ask("copied.bmp", {"path": "photos", "labels": ""})
    assert (rows[0]["path"], float(rows[0]["distance"])) == ("photos/shoes/7.png", 0)
    assert "same features as a gallery picture" in page
    # Of training images, which have no files, the pixels say it.
    save(made / "again/a.png", 3)
    rows, page = ask("again", k=3)
    assert "train3" not in {row["id"] for row in rows}
    assert "in the gallery itself, as train3;" in page


def test_a_gallery_of_the_query_alone(ask, made, caplog):
    caplog.set_level(logging.INFO, "visrec")
    save(made / "alone/a.png", 3)
    rows, page = ask("alone", gallery="alone")
    assert rows == []
    assert "recommendations for 1 picture are at" in caplog.text
    assert "There is no other picture in the gallery." in page


def test_another_folder_as_gallery(ask, made):
    save(made / "elsewhere/red/deep/a.png", 400)
    rows, _ = ask("photos/boots/0.png", {"path": "photos", "labels": ""}, gallery="elsewhere")
    assert [(row["path"], row["label"]) for row in rows] == [("elsewhere/red/deep/a.png", "deep")]


def test_what_cannot_be_read_is_named_in_log_and_page_and_not_in_the_csv(ask, made, caplog, monkeypatch):
    query = made / "mixed"
    save(query / "good.png", 5)
    save(query / "<script>alert(1)<b>.png", 6)
    save(query / "=cmd|calc.png", 7)
    save(query / 'two\nlines, "quoted".png', 8)
    (query / "broken<i>.jpg").write_bytes(b"\xff\xd8 no picture")
    (query / "empty.jpg").touch()
    (query / "loop").symlink_to(query)
    (query / "page.jpg").write_text("<html>404")
    monkeypatch.chdir(query)
    with caplog.at_level(logging.INFO, "visrec"):
        recommend(made / "experiment", ".", OPTIONS, NAMED, None, "cpu", 2)
    with (made / "experiment/recommend/recommendations.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert sorted({row["query"] for row in rows}) == [
        "./=cmd|calc.png", "<script>alert(1)<b>.png", "good.png", 'two\nlines, "quoted".png',
    ]  # fmt: skip
    page = (made / "experiment/recommend/recommendations.html").read_text()
    assert page.count("<script") == 1
    assert not re.findall(r"<i>|<b>\.|src=\"(?!data:image/webp;base64,)|https?://|href=\"(?!#queries)", page)
    text = html.unescape(page)
    for name, reason in (
        ("broken<i>.jpg", "is not a picture of a known format"),
        ("empty.jpg", "is empty (0 bytes)"),
        ("loop", "is a link to a folder, which is not followed"),
        ("page.jpg", "is an HTML page, not a picture"),
    ):
        assert f"<dt>{reason} <small>1</small></dt>\n<dd><code>{name}</code></dd>" in text
        assert f"query: left out {name}: {reason}" in caplog.text
    assert 'two\\nlines, "quoted".png' in text
    assert "recommendations for 4 pictures are at " in caplog.text
    assert "trial pixels/seed~0 of shoes at 16 px: as the config says" in caplog.text


def test_nothing_is_written_when_no_query_can_be_read(ask, made):
    (made / "bad").mkdir(exist_ok=True)
    (made / "bad/a.jpg").touch()
    ask("photos/boots")
    before = (made / "experiment/recommend/recommendations.csv").read_bytes()
    with pytest.raises(UserError, match=r"query bad: no picture in it can be read; the first, a\.jpg: is empty"):
        ask("bad")
    with pytest.raises(UserError, match="query experiment: no picture in it can be read; it has no pictures"):
        ask("experiment")
    with pytest.raises(UserError, match="nowhere: there is no such file or folder; correct the path"):
        ask("nowhere")
    assert (made / "experiment/recommend/recommendations.csv").read_bytes() == before
    assert not list((made / "experiment/recommend").glob(".*"))


def test_the_page_shows_the_first_and_says_so(ask):
    rows, page = ask("photos", shown=4)
    assert len(rows) == 30
    assert page.count("<article") == 4
    assert "The first 4 of 10 are shown. recommendations.csv, beside this page, has all." in page
    assert ask("photos")[1].count("<article") == 10
    assert "are shown" not in ask("photos")[1]


def test_many_queries_are_taken_in_turns(ask, monkeypatch):
    whole = ask("photos")
    monkeypatch.setattr(module, "CHUNK", 3)
    assert ask("photos") == whole


def test_more_recommendations_than_there_are_pictures(ask):
    rows, page = ask("photos/boots/0.png", k=5000)
    assert len(rows) == 30
    assert page.count('<div class="frame">') == 30


def test_the_chosen_trial_its_score_on_test_and_why(ask, made, caplog):
    (made / "experiment/tables").mkdir(exist_ok=True)
    names = ["dataset", "size", "encoder", "trial", "status", "k", *VALIDATED, *COSTS, *SCORES]
    about = dict.fromkeys(names, "") | {"dataset": "shoes", "size": 16, "trial": "seed~0", "status": "ok", "k": 3}
    about |= {"n_seeds": 1, "embed_images_per_second": 100, "precision_chance": 0.5}
    scores = [
        {"encoder": "pca", "val_precision": 0.75, "cost_seconds": 2},
        {"encoder": "pixels", "val_precision": 0.5, "cost_seconds": 0, "precision": 0.7}
        | {"precision_low": 0.65, "precision_high": 0.75},
    ]
    pair = dict.fromkeys(["a", "b", "metric", "word"], "") | dict.fromkeys(["difference", "low", "high"], 0)
    pair |= {"dataset": "shoes", "size": 16, "a": "pca", "b": "pixels", "metric": "precision", "word": "not resolved"}
    for name, rows in (("leaderboard", [about | one for one in scores]), ("comparisons", [pair])):
        with (made / f"experiment/tables/{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    write_text(made / "experiment/report/index.html", "the report")
    trials = [Trial("shoes", 16, name, {}, 0, "seed~0") for name in ("pixels", "pca")]
    caplog.set_level(logging.INFO, "visrec")
    recommend("experiment", "photos", OPTIONS, TrialChoice("shoes", 16, None, trials), None, "cpu", 1)
    page = (made / "experiment/recommend/recommendations.html").read_text()
    text = " ".join(re.sub("<[^>]*>", "", page).replace("\N{NO-BREAK SPACE}", " ").split())
    why = "the cheapest (no training) of pca and pixels. pca is the best on validation, and on test"
    assert f"Recommended by pixels/seed~0 of shoes at 16 px, {why}" in text
    assert "On test it has precision@3 70.0 % [65.0, 75.0]; chance is 50.0 %." in text
    assert '<a href="../report/index.html">its report</a>' in page
    assert "trial pixels/seed~0 of shoes at 16 px: the cheapest" in caplog.text

    # What was planned stays, whatever the leaderboard says by now.
    planned = TrialChoice("shoes", 16, ("pca/seed~0", "as the config says"), trials)
    recommend("experiment", "photos", OPTIONS, planned, None, "cpu", 1)
    assert "trial pca/seed~0 of shoes at 16 px: as the config says" in caplog.text
    assert "Its test score is in no table." in (made / "experiment/recommend/recommendations.html").read_text()
    shutil.rmtree(made / "experiment/report")
    shutil.rmtree(made / "experiment/tables")


def test_files_left_out_stand_by_reason():
    found = by_reason([("b", "is empty"), ("a\n", "is a page"), ("c", "is empty"), ("d", "is a lie")])
    assert found == [("is empty", ["b", "c"]), ("is a lie", ["d"]), ("is a page", ["a\\n"])]


@pytest.mark.parametrize("path", ["=1.png", "+1.png", "-1.png", "@x.png", "\t.png", "\r.png", "\n.png", "＝1.png"])
def test_a_path_is_no_formula(path):
    assert spelled(path) == f"./{path}"
    assert spelled(f"photos/{path}") == f"photos/{path}"


def test_labels_in_the_csv_are_no_formulas(ask, made):
    save(made / "hostile/=cmd|calc/a.png", 400)
    rows, page = ask("photos/boots/0.png", {"path": "photos", "labels": ""}, gallery="hostile")
    assert [(row["label"], row["path"]) for row in rows] == [("'=cmd|calc", "hostile/=cmd|calc/a.png")]
    assert "'=cmd" not in html.unescape(page)  # which no spreadsheet reads


def test_thumbnails_are_upright_and_small(tmp_path):
    tall = Image.new("RGB", (300, 600), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    tall.save(tmp_path / "a.jpg", exif=exif)
    assert pictures.thumbnail(tmp_path / "a.jpg", 160).size == (160, 80)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    with pytest.raises(pictures.PictureError):
        pictures.thumbnail(tmp_path / "b.jpg", 160)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(ask, made, open_page, width, scheme):
    ask("photos")
    page = open_page(made / "experiment/recommend/recommendations.html", width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("article").count() == 10
    assert page.locator("article img").evaluate_all("all => all.every(one => one.naturalWidth > 0 && one.alt)")
    assert page.get_by_role("list", name="The nearest pictures of boots/0.png").get_by_role("listitem").count() == 3


@pytest.mark.browser
def test_the_filter_hides_what_is_not_looked_for(ask, made, open_page):
    ask("photos")
    page = open_page(made / "experiment/recommend/recommendations.html")
    shown = page.locator("article:visible")
    page.get_by_label("Find").fill("boots/")
    assert shown.count() == 5
    assert page.locator("output").text_content() == "5 of 10 pictures"
    page.get_by_label("Find").fill("")
    page.get_by_label("Recommended class").select_option("left")
    assert set(page.locator("li[data-label]:visible").evaluate_all("all => all.map(one => one.dataset.label)")) == {
        "left"
    }
    page.get_by_label("Find").fill("nowhere")
    assert shown.count() == 0
