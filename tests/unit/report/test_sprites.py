"""One sheet of pictures, read back where CSS would look."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.errors import UserError
from visrec.report.sprites import SIDE, Pictures


def images(path, colours, size=16):
    """images.h5 with pictures of one colour each, three of them in train and the rest in test."""
    flat = np.broadcast_to(np.array(colours, np.uint8)[:, :, None, None], (len(colours), 3, size, size))
    ids = np.array([f"{number}.png" for number in range(len(colours))])
    parts = {"train": slice(0, 3), "val": slice(0, 0), "test": slice(3, None)}
    sources = {
        split: ImageSource([flat[rows].copy()], np.full(len(ids[rows]), -1), ids[rows]) for split, rows in parts.items()
    }
    write_images(path, ImageSet(sources, [], "", ""), size)
    return path


def colour_at(sprite, number, size=None):
    """The middle of what an element shows whose background is the sheet at `place`, as CSS defines it."""
    sheet = Image.open(io.BytesIO(base64.b64decode(sprite.uri.partition(",")[2]))).convert("RGB")
    assert sheet.size == (sprite.columns * sprite.side, sprite.rows * sprite.side)
    size = size or sprite.side
    left, top = (float(each.removesuffix("%")) / 100 for each in sprite.position(number).split())
    scale = size / sprite.side
    x = left * (sheet.width * scale - size) + size / 2  # percent of what the sheet is larger than the element
    y = top * (sheet.height * scale - size) + size / 2
    return sheet.getpixel((int(x / scale), int(y / scale)))


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (250, 250, 250)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("size", [None, 56])
def test_every_picture_is_where_css_looks(tmp_path, count, size):
    pictures = Pictures()
    for number in reversed(range(count)):  # in another order than in the file
        assert pictures.number("train" if number < 3 else "test", f"{number}.png", "") == count - 1 - number
    sprite = pictures.sprite(images(tmp_path / "images.h5", COLOURS))
    for number, colour in enumerate(reversed(COLOURS[:count])):
        assert np.abs(np.array(colour_at(sprite, number, size)) - colour).max() < 30  # WebP loses a little


def test_a_picture_is_once_on_the_sheet_and_known_by_split_and_id(tmp_path):
    pictures = Pictures()
    numbers = [
        pictures.number(*each) for each in (("train", "1.png", "a"), ("test", "4.png", ""), ("train", "1.png", "a"))
    ]
    assert numbers == [0, 1, 0]
    assert pictures.data() == [
        {"id": "1.png", "label": "a", "split": "train"},
        {"id": "4.png", "label": "", "split": "test"},
    ]
    sprite = pictures.sprite(images(tmp_path / "images.h5", COLOURS))
    assert (sprite.side, sprite.columns, sprite.rows) == (16, 2, 1)


def test_large_pictures_are_made_smaller(tmp_path):
    pictures = Pictures()
    pictures.number("test", "5.png", "")
    sprite = pictures.sprite(images(tmp_path / "images.h5", COLOURS, size=SIDE + 32))
    assert (sprite.side, sprite.columns, sprite.rows) == (SIDE, 1, 1)
    assert np.abs(np.array(colour_at(sprite, 0)) - COLOURS[5]).max() < 30


def test_no_pictures_need_no_sheet(tmp_path):
    assert Pictures().sprite(images(tmp_path / "images.h5", COLOURS)).uri == ""


def test_an_unknown_picture_is_one_line(tmp_path):
    pictures = Pictures()
    pictures.number("train", "elsewhere.png", "")
    with pytest.raises(UserError, match=r"names image 'elsewhere.png', which is not in train; run embed again"):
        pictures.sprite(images(tmp_path / "images.h5", COLOURS))


def test_more_pictures_than_a_sheet_holds_are_one_line(tmp_path, monkeypatch):
    pictures = Pictures()
    for number in range(3, 7):
        pictures.number("test", f"{number}.png", "")
    path = images(tmp_path / "images.h5", COLOURS, size=16)
    monkeypatch.setattr("visrec.report.sprites.WIDEST", 32)  # two by two cells
    assert pictures.sprite(path).columns == 2
    monkeypatch.setattr("visrec.report.sprites.WIDEST", 31)
    with pytest.raises(UserError, match=r"4 pictures, more than one sheet holds; lower report\.queries"):
        pictures.sprite(path)
