"""The report's embedding map: where points are drawn, by which letter, and what goes to the page."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import report_fixture as fixture

from visrec.report import map as maps
from visrec.report.sprites import Pictures
from visrec.scoring.projection import COLUMNS


def test_points_fill_the_drawing_on_one_scale_upwards():
    place = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0], [np.nan, np.nan]])
    width = maps.WIDTH - 2 * maps.MARGIN  # x is what fills it: 10 of them, and 5 half of that
    middle = maps.HEIGHT / 2
    expected = [[16, middle + width / 4], [16 + width, middle + width / 4], [16 + width, middle - width / 4]]
    found = maps.into_drawing(place)
    np.testing.assert_allclose(found[:3], expected)
    assert np.isnan(found[3]).all()
    tall = maps.into_drawing(np.array([[0.0, -1.0], [0.0, 1.0]]))
    np.testing.assert_allclose(tall, [[maps.WIDTH / 2, maps.HEIGHT - 16], [maps.WIDTH / 2, 16]])
    np.testing.assert_allclose(maps.into_drawing(np.ones((2, 2))), 2 * [[maps.WIDTH / 2, maps.HEIGHT / 2]])


@pytest.mark.parametrize(
    "classes, letters",
    [
        (["0", "1", "9"], "019"),
        (["cat", "dog"], "CD"),
        (["airplane", "automobile", "bird"], "ABC"),
        (["<script>", "&amp;"], "AB"),
        (["", "x"], "AB"),
        ([], ""),
    ],
)
def test_every_class_has_a_letter_of_its_own(classes, letters):
    assert maps.marks(classes) == list(letters)


def write(root, encoder, rows):
    trial = fixture.trial(encoder, {}, dataset="pets", size=8)
    path = root / trial.folder / "projection.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return trial


def shown(root, tables, classes=("cat", "dog"), first="age"):
    trials = [write(root, encoder, rows) for encoder, rows in tables.items()]
    chapter = {"info": SimpleNamespace(classes=list(classes)), "first": first}
    pictures = Pictures()
    return maps.embedding_map(fixture.experiment(root, trials), chapter, pictures), pictures.data()


ROWS = [("a", "dog", 0, 0, 1, 1, 0.8, 0.97), ("b", "cat", 10, 5, 2, 1, 0.8, 0.97)]
NO_TSNE = [(name, label, 1, 1, None, None, None, None) for name, label in (("a", "dog"), ("b", "cat"))]


def test_each_encoder_has_its_places_of_the_same_points(tmp_path):
    data, pictures = shown(tmp_path, {"pixels": NO_TSNE, "age": ROWS[::-1], "random": []})
    assert [pictures[number]["id"] for number in data["points"]] == ["a", "b"]
    assert data["marks"] == [1, 0]
    assert data["legend"] == [{"mark": "C", "label": "cat"}, {"mark": "D", "label": "dog"}]
    assert [one["name"] for one in data["encoders"]] == ["pixels", "age"]
    assert data["first"] == 1
    pixels, age = (one["maps"] for one in data["encoders"])
    assert pixels["tsne"] is None
    assert pixels["pca"] == {"places": 2 * [[320.0, 240.0]], "trust": ""}
    assert age["tsne"] == {"places": [[16.0, 240.0], [624.0, 240.0]], "trust": "0.97"}
    assert age["pca"]["trust"] == "0.80"
    assert age["pca"]["places"] == [[16.0, 392.0], [624.0, 88.0]]


def test_a_point_that_an_encoder_does_not_have_is_not_drawn(tmp_path):
    data, _ = shown(tmp_path, {"age": ROWS, "pixels": ROWS[:1]})
    assert data["encoders"][1]["maps"]["pca"]["places"] == [[320.0, 240.0], None]


def test_many_classes_or_none_have_no_letters(tmp_path):
    many = [f"class {number}" for number in range(11)]
    rows = [(str(number), name, number, 0, number, 0, 0.5, 0.5) for number, name in enumerate(many)]
    data, pictures = shown(tmp_path, {"age": rows}, many)
    assert (data["legend"], set(data["marks"])) == ([], {-1})
    assert pictures[3]["label"] == "class 3"
    data, _ = shown(tmp_path, {"age": [(name, "", *rest) for name, _, *rest in ROWS]}, [])
    assert (data["legend"], data["marks"]) == ([], [-1, -1])


def test_nobody_has_points(tmp_path):
    assert shown(tmp_path, {"age": [], "pixels": []}) == (None, [])
    trial = fixture.trial("pca", {}, dataset="pets", size=8)
    assert maps.embedding_map(fixture.experiment(tmp_path, [trial]), {}, Pictures()) is None  # not there
