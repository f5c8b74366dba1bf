"""What a shop gets for its photos: a CSV file and a page."""

import csv
import html
import logging
import re

import numpy as np
import pytest
from PIL import Image
from recommender_fixture import make, save, shade

from visrec.errors import UserError
from visrec.experiment.trials import Trial
from visrec.recommender import recommend as module
from visrec.recommender.recommend import (
    LIKE,
    SAME,
    UNKNOWN,
    UNLIKE,
    UNUSUAL,
    TrialChoice,
    as_text,
    recommend,
    spelled,
    typicality,
)

PLANNED = ("pixels/seed~0", "as the config says")
NAMED = TrialChoice("shoes", 16, PLANNED)
OPTIONS = {
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
    assert text.startswith('"query","rank","id","path","distance","label"\n"photos/boots/0.png",1,"train')


def test_a_folder_of_the_dataset_is_the_gallery_with_its_classes(ask):
    rows, page = ask("photos/shoes/7.png", {"path": "photos", "labels": ""})
    assert (rows[0]["path"], rows[0]["label"]) == ("photos/shoes/7.png", "shoes")
    assert float(rows[0]["distance"]) == 0
    assert "same features as a gallery picture" in page
    assert "the folder photos" in page


def test_another_folder_as_gallery(ask, made):
    save(made / "elsewhere/red/deep/a.png", 300)
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
    assert not re.findall(r"<script|<i>|<b>\.|src=\"(?!data:image/webp;base64,)|https?://", page)
    text = html.unescape(page)
    for name, reason in (
        ("broken<i>.jpg", "is not a picture of a known format"),
        ("empty.jpg", "is empty (0 bytes)"),
        ("loop", "is a link to a folder, which is not followed"),
        ("page.jpg", "is an HTML page, not a picture"),
    ):
        assert f"<code>{name}</code> {reason}" in text
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
    assert page.count("<li>\n<div") == 30


def test_the_chosen_trial_and_why(ask, made, caplog):
    (made / "experiment/tables").mkdir(exist_ok=True)
    (made / "experiment/tables/leaderboard.csv").write_text(
        "dataset,size,encoder,trial,status,k,val_precision,val_knn_accuracy,val_svm_accuracy\n"
        "shoes,16,pixels,seed~0,ok,3,0.5,,\nshoes,16,pca,seed~0,ok,3,0.75,,\n"
    )
    trials = [Trial("shoes", 16, name, {}, 0, "seed~0") for name in ("pixels", "pca")]
    caplog.set_level(logging.INFO, "visrec")
    recommend("experiment", "photos", OPTIONS, TrialChoice("shoes", 16, None, trials), None, "cpu", 1)
    page = (made / "experiment/recommend/recommendations.html").read_text()
    assert re.search(r"pca/seed~0</code> of shoes\s+at 16 px: the best on validation, with precision@3 75\.0 %\.", page)
    assert "trial pca/seed~0 of shoes at 16 px: the best on validation" in caplog.text

    # What was planned stays, whatever the leaderboard says by now.
    recommend("experiment", "photos", OPTIONS, TrialChoice("shoes", 16, PLANNED, trials), None, "cpu", 1)
    assert "trial pixels/seed~0 of shoes at 16 px: as the config says" in caplog.text


def test_typicality_by_hand():
    own = np.arange(1.0, 201.0)
    assert typicality(own, 0.0, 1.0) == SAME
    assert typicality(own, 0.011, 1.0) == LIKE  # of a median of 100.5, 0.01005 is still rounding
    assert typicality(own, 0.010, 1.0) == SAME
    assert typicality(own, 150.0, 0.05) == LIKE
    assert typicality(own, 199.0, 0.0499) == UNUSUAL
    assert typicality(own, 199.0, 0.01) == UNUSUAL
    assert typicality(own, 300.0, 0.0099) == UNLIKE
    assert typicality(np.arange(1.0, 19.0), 9e9, 1 / 19) == UNKNOWN
    assert typicality(np.arange(1.0, 20.0), 9e9, 1 / 20) == UNKNOWN
    assert typicality(np.arange(1.0, 21.0), 9e9, 1 / 21) == UNUSUAL
    assert typicality(np.arange(1.0, 100.0), 9e9, 1 / 100) == UNUSUAL
    assert typicality(np.zeros(0), 9e9, 1.0) == UNKNOWN


def test_the_same_features_but_for_rounding():
    half = np.repeat([0.0, 100.0], [60, 40])  # most pictures lie in the gallery twice
    assert typicality(half, 0.01, 1.0) == SAME
    assert typicality(half, 0.02, 1.0) == LIKE
    assert typicality(np.zeros(100), 0.0, 1.0) == SAME
    assert typicality(np.zeros(100), 0.01, 0.0001) == UNLIKE
    assert typicality(np.arange(1.0, 201.0), 0.3, 1.0, rounded=0.4) == SAME  # stored in 16 bits
    assert typicality(np.arange(1.0, 201.0), 0.5, 1.0, rounded=0.4) == LIKE


@pytest.mark.parametrize("path", ["=1.png", "+1.png", "-1.png", "@x.png", "\t.png", "\r.png", "\n.png", "＝1.png"])
def test_a_path_or_a_word_is_no_formula(path):
    assert spelled(path) == f"./{path}"
    assert spelled(f"photos/{path}") == f"photos/{path}"
    assert as_text(path) == f"'{path}"
    for word in (path, "boots", "", "'80s", "''", "a=b"):
        written = as_text(word)
        assert written.removeprefix("'") == word
        assert (written == word) == (word in ("boots", "", "a=b"))


def test_labels_in_the_csv_are_no_formulas(ask, made):
    save(made / "hostile/=cmd|calc/a.png", 300)
    rows, page = ask("photos/boots/0.png", {"path": "photos", "labels": ""}, gallery="hostile")
    assert [(row["label"], row["path"]) for row in rows] == [("'=cmd|calc", "hostile/=cmd|calc/a.png")]
    assert "'=cmd" not in html.unescape(page)  # which no spreadsheet reads


def test_thumbnails_are_upright_and_small(tmp_path):
    tall = Image.new("RGB", (300, 600), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    tall.save(tmp_path / "a.jpg", exif=exif)
    assert module.pictures.thumbnail(tmp_path / "a.jpg", 160).size == (160, 80)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    with pytest.raises(module.pictures.PictureError):
        module.pictures.thumbnail(tmp_path / "b.jpg", 160)


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
