"""Sheets of pictures that fit into a page."""

import base64
import io
import math

import numpy as np
import pytest
import report_fixture as fixture
from PIL import Image

from visrec.errors import UserError
from visrec.report import sheets
from visrec.report.inputs import State

SHEET = (16 * 66 + 2, 4 * 66 + 2)  # of 64 pictures of 64 px


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / "samples.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SHEET[::-1], 3), dtype=np.uint8)).save(path)
    return path


def decoded(one):
    return Image.open(io.BytesIO(base64.b64decode(one["uri"].partition(",")[2])))


def test_a_sheet_that_fits_is_whole(noise):
    one = sheets.sheet(noise, math.inf)
    assert (one["width"], one["height"], one["cut"]) == (*SHEET, False)
    assert decoded(one).size == SHEET


def test_even_noise_of_two_hundred_trials_fits(noise):
    trials = [fixture.age(number, 10) for number in range(200)]
    most = sheets.bytes_per_sheet([fixture.trial("pixels", {}), *trials])
    assert most == sheets.BYTES / 400
    one = sheets.sheet(noise, most)
    assert one["cut"]
    assert len(base64.b64decode(one["uri"].partition(",")[2])) < 2 * most  # noise is the worst there is
    assert decoded(one).size == (one["width"], one["height"])
    assert one["width"] == SHEET[0] // 2  # whole pictures, smaller
    assert sheets.sheet(noise, most, one["whole"])["uri"] == one["uri"]  # knowing it beforehand only saves time


def test_a_little_less_room_costs_quality_first(noise):
    whole = sheets.sheet(noise, math.inf)["whole"]
    one = sheets.sheet(noise, 0.9 * whole)
    assert not one["cut"]
    assert len(one["uri"]) < 0.9 * whole * 4 / 3 + 100


def test_the_chosen_comes_first_and_whole(tmp_path, noise):
    trials = [fixture.age(500, 10), fixture.age(1000, 10), fixture.trial("pixels", {})]
    for one in trials[:2]:
        (tmp_path / one.folder).mkdir(parents=True)
        (tmp_path / one.folder / "samples.png").hardlink_to(noise)
    states = {one.folder: State("ok", "") for one in trials}
    found = sheets.sheets(fixture.experiment(tmp_path, trials), states, {"age": trials[1].name}, 10_000)
    assert [(one["trial"], one["shown"], one["cut"]) for one in found] == [
        (trials[1].name, True, False),
        (trials[0].name, False, True),
    ]
    assert found[0]["pictures"]["reconstructions"] is None


def test_what_is_no_picture_is_one_line(tmp_path):
    (tmp_path / "samples.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="is not a picture; delete it"):
        sheets.sheet(tmp_path / "samples.png", math.inf)
    assert sheets.sheet(tmp_path / "none.png", math.inf) is None
