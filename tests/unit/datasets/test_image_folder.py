import logging
import os

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import Resize

from visrec.data.hdf5 import SPLITS
from visrec.data.images import read_images, write_images
from visrec.datasets import image_folder, prepare
from visrec.datasets._folder_names import split_of
from visrec.errors import UserError
from visrec.experiment.registry import declared

SPLITS = SPLITS


@pytest.fixture
def folder(tmp_path):
    """A function that puts pictures, by their relative paths, into a folder, which is empty at first."""
    root = tmp_path / "pictures"
    root.mkdir()
    rng = np.random.default_rng(0)

    def add(*paths):
        for path in paths:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(file)
        return root

    return add


def read(root, size=8, threads=2, **options):
    defaults = {key: option["default"] for key, option in declared("datasets", "image_folder")["OPTIONS"].items()}
    return image_folder.read(size, {**defaults, "path": str(root), **options}, {}, threads)


def labels(images):
    """split -> {id: class name}; the name is None for a label of -1."""
    names = [*images.classes, None]
    return {
        split: {str(key): names[label] for key, label in zip(part.ids, part.labels, strict=True)}
        for split, part in images.splits.items()
    }


def count(images):
    return sum(len(part.ids) for part in images.splits.values())


def pixels(part):
    return np.concatenate(list(part.batches))


def many(count, *classes, base=""):
    return [f"{base}{name}/{number:03d}.png" for name in classes for number in range(count)]


def test_train_val_and_test_as_given(folder):
    root = folder(
        *(f"{split}/{name}/{n}.png" for split in ("train", "val", "test") for name in ("b", "a") for n in (0, 1))
    )
    images = read(root)
    assert list(images.classes) == ["a", "b"]
    assert labels(images) == {
        split: {f"{split}/{name}/{n}.png": name for name in "ab" for n in (0, 1)} for split in SPLITS
    }
    assert images.split_rule == "train, val and test as given: 4 / 4 / 4"
    assert all(part.labels.dtype == np.int64 for part in images.splits.values())


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_other_names_of_val(folder, name):
    root = folder("train/a/0.png", f"{name}/a/0.png", "test/a/0.png")
    assert labels(read(root))["val"] == {f"{name}/a/0.png": "a"}


def test_same_pixels_and_labels_as_torchvision(folder):
    root = folder(*many(3, "x", "y", "z", base="train/"), *many(2, "x", "y", "z", base="test/"))
    images = read(root, size=8, val=3)
    for split in ("train", "test"):
        expected = ImageFolder(root / split, Resize((8, 8)))
        by_id = {
            os.path.relpath(path, root): (np.asarray(picture).transpose(2, 0, 1), label)
            for (path, _), (picture, label) in zip(expected.samples, expected, strict=True)
        }
        assert list(images.classes) == expected.classes
        parts = [images.splits[split]] + ([images.splits["val"]] if split == "train" else [])
        assert sum(len(part.ids) for part in parts) == len(by_id)
        for part in parts:
            for key, label, picture in zip(part.ids, part.labels, pixels(part), strict=True):
                assert np.array_equal(picture, by_id[key][0])
                assert label == by_id[key][1]


def test_val_is_cut_from_train_by_class(folder):
    root = folder(*many(20, "a", base="train/"), *many(10, "b", base="train/"), *many(2, "a", "b", base="test/"))
    images = read(root, val=6)
    found = labels(images)
    assert {split: len(part) for split, part in found.items()} == {"train": 24, "val": 6, "test": 4}
    assert sorted(found["val"].values()) == ["a"] * 4 + ["b"] * 2
    assert all(key.startswith("train/") for key in found["val"])
    assert not set(found["val"]) & set(found["train"])
    assert all(key.split("/")[1] == name for part in found.values() for key, name in part.items())
    rule = "train and test as given, val cut from train stratified by class, drawn once with seed 0: 24 / 6 / 4"
    assert images.split_rule == rule
    assert len(labels(read(root, val=0.2))["val"]) == 6  # a share is one of train


def test_plain_class_folders_are_cut_twice(folder):
    root = folder(*many(10, "a", "b"))
    images = read(root, val=0.1, test=0.2)
    assert {split: len(part.ids) for split, part in images.splits.items()} == {"train": 14, "val": 2, "test": 4}
    for part in images.splits.values():
        assert np.bincount(part.labels).tolist() == [len(part.ids) // 2] * 2
        assert list(part.ids) == sorted(part.ids)
    rule = "val and test cut from train stratified by class, drawn once with seed 0: 14 / 2 / 4"
    assert images.split_rule == rule


def test_the_cut_depends_on_the_seed_and_not_on_the_file_system(folder, monkeypatch):
    root = folder(*many(30, "a", "b"))
    first = labels(read(root))
    assert labels(read(root)) == first
    assert labels(read(root, split_seed=1)) != first
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    again = labels(read(root))
    assert again == first
    assert [list(part) for part in again.values()] == [list(part) for part in first.values()]


def test_pictures_without_classes(folder):
    images = read(folder(*(f"{n:02d}.png" for n in range(20))), val=2, test=3)
    assert list(images.classes) == []
    assert {split: len(part.ids) for split, part in images.splits.items()} == {"train": 15, "val": 2, "test": 3}
    assert all((part.labels == -1).all() for part in images.splits.values())
    assert "at random" in images.split_rule
    assert sum(len(pixels(part)) for part in images.splits.values()) == 20


def test_pictures_without_classes_in_splits(folder):
    images = read(folder("train/0.png", "val/0.png", "test/0.png"))
    assert labels(images) == {split: {f"{split}/0.png": None} for split in SPLITS}


def test_a_class_may_be_called_train(folder):
    images = read(folder(*many(3, "bus", "train", "tram")), val=3, test=3)
    assert list(images.classes) == ["bus", "train", "tram"]


def test_folders_inside_a_class_belong_to_it(folder):
    root = folder("train/a/deep/er/0.png", "train/b/0.png", "val/a/0.png", "test/a/0.png")
    assert labels(read(root))["train"] == {"train/a/deep/er/0.png": "a", "train/b/0.png": "b"}


def test_what_is_no_picture_is_left_out_and_counted(folder, caplog):
    root = folder(*many(3, "a"), "a/.hidden.png", ".cache/0.png", "__MACOSX/a/0.png")
    for name in ("read.me", "a/notes.txt", "a/more.txt", "LICENSE"):
        (root / name).write_text("text")
    with caplog.at_level(logging.INFO):
        images = read(root, val=1, test=1)
    assert count(images) == 3
    assert "left out 4 files without the suffix of a picture (.txt 2, " in caplog.text


def test_suffixes_in_capitals(folder):
    assert count(read(folder("a/0.PNG", "a/1.JPG", "a/2.Jpeg"), val=1, test=1)) == 3


def test_images_h5(folder, tmp_path):
    """What is read can be written and comes back."""
    images = read(folder(*many(5, "a", "b")), val=2, test=2)
    write_images(tmp_path / "images.h5", images, 8)
    again = read_images(tmp_path / "images.h5", "train")
    assert again.images.shape == (6, 3, 8, 8)
    assert again.images.std() > 10
    assert again.ids.tolist() == list(images.splits["train"].ids)


# --- labels in a CSV


def table(root, text, encoding="utf-8"):
    path = root / "labels.csv"
    path.write_text(text, encoding=encoding)
    return {"labels": str(path)}


def test_csv_of_labels(folder):
    root = folder(*(f"{n}.png" for n in range(6)), "more/6.png")
    rows = "".join(f"{n}.png,{'shoe' if n % 2 else 'hat'}\n" for n in (5, 3, 1, 0, 2, 4))
    images = read(root, **table(root, "path,label\n" + rows + "./more/6.png,hat\n"), val=2, test=2)
    assert list(images.classes) == ["hat", "shoe"]
    found = {key: name for part in labels(images).values() for key, name in part.items()}
    assert found == {f"{n}.png": "shoe" if n % 2 else "hat" for n in range(6)} | {"more/6.png": "hat"}


def test_csv_of_ids_and_splits(folder):
    root = folder("1.png", "2.png", "3.png", "4.png")
    rows = 'sku-2,train,2.png,"hat, red"\nsku-1,train,1.png,Schuh für Männer\nsku-3,validation,3.png,"hat, red"\n'
    options = table(root, "id,split,path,label\n" + rows + "sku-4,test,4.png,Schuh für Männer\n", "utf-8-sig")
    images = read(root, **options)
    assert labels(images) == {
        "train": {"sku-1": "Schuh für Männer", "sku-2": "hat, red"},
        "val": {"sku-3": "hat, red"},
        "test": {"sku-4": "Schuh für Männer"},
    }
    assert images.splits["train"].ids.tolist() == ["sku-1", "sku-2"]  # in the order of the paths, not of the rows


def test_lines_of_spaces_are_no_rows(folder):
    root = folder("1.png", "2.png", "3.png")
    images = read(root, **table(root, "path,label,split\n1.png,,train\n  \n2.png,,val\n , ,\n3.png,,test\n \t\n"))
    assert [images.splits[split].ids.tolist() for split in SPLITS] == [["1.png"], ["2.png"], ["3.png"]]


def test_csv_without_labels(folder):
    root = folder("1.png", "2.png", "3.png")
    images = read(root, **table(root, "path,label,split\n1.png,,train\n2.png,,val\n3.png,,test\n"))
    assert labels(images) == {"train": {"1.png": None}, "val": {"2.png": None}, "test": {"3.png": None}}


CSV_ERRORS = {
    "a row for no file": (
        "path,label\n1.png,a\n2.png,a\n3.png,b\n",
        r"line 4: '3.png' is not a picture in .*; correct the",
    ),
    "a row is missing": (
        "path,label\n1.png,a\n",
        r"1 pictures in .* have no row, the first is '2.png'; add their rows",
    ),
    "no rows": ("path,label\n", r"2 pictures in .* have no row, the first is '1.png'"),
    "nothing": ("", r"line 1: the columns are ''; they must be path and label"),
    "a column is missing": (
        "path,class\n1.png,a\n2.png,a\n",
        r"line 1: the columns are 'path,class'; they must be path",
    ),
    "a column too many": ("path,label,price\n1.png,a,1\n2.png,b,2\n", r"line 1: the columns are 'path,label,price'"),
    "a column twice": ("path,label,label\n1.png,a,a\n2.png,b,b\n", r"line 1: the columns are 'path,label,label'"),
    "a field too many": ("path,label\n1.png,a,b\n2.png,a\n", r"line 2: 3 fields where the first line has 2; correct"),
    "a field too few": ("path,label\n1.png,a\n2.png\n", r"line 3: 1 fields where the first line has 2"),
    "the same path": (
        "path,label\n1.png,a\n2.png,b\n./1.png,b\n",
        r"line 4: '1.png' was in line 2 already; keep one row",
    ),
    "the same id": (
        "path,label,id\n1.png,a,x\n2.png,b,x\n",
        r"line 3: id 'x' was in line 2 already; ids must be unique",
    ),
    "an empty id": (
        "path,label,id\n1.png,a,x\n2.png,b,\n",
        r"line 3: the id is empty; fill it in, or leave the column",
    ),
    "an unknown split": (
        "path,label,split\n1.png,a,train\n2.png,b,extra\n",
        r"line 3: unknown split 'extra'; write train, val",
    ),
    "an empty split": (
        "path,label,split\n1.png,a,train\n2.png,b,\n",
        r"line 3: unknown split ''; write train, val or test",
    ),
    "an empty label": ("path,label\n1.png,a\n2.png,\n", r"line 3: the label is empty; fill it in, or leave all labels"),
    "no train": ("path,label,split\n1.png,a,val\n2.png,b,test\n", r"pictures: no picture is in train; put some there"),
    "leaves the folder": ("path,label\n1.png,a\n../2.png,b\n", r"line 3: '../2.png' is not a picture in "),
    "an open quote": (
        'path,label\n1.png,"a\n2.png,b\n',
        r"labels.csv: cannot be read as a CSV in UTF-8 \(unexpected end",
    ),
}


@pytest.mark.parametrize("case", CSV_ERRORS)
def test_bad_csv(folder, case):
    text, message = CSV_ERRORS[case]
    root = folder("1.png", "2.png")
    fails(message, root, **table(root, text))


def test_csv_that_cannot_be_read(folder):
    root = folder("1.png", "2.png")
    fails(
        r"none.csv: cannot be read as a CSV in UTF-8 \(No such file or directory\); check `labels`",
        root,
        labels="none.csv",
    )
    fails(r"labels.csv: cannot be read as a CSV in UTF-8", root, **table(root, "path,label\n1.png,ü\n", "latin-1"))
    os.mkfifo(root.parent / "pipe.csv")  # who opens it waits for a writer
    fails(r"pipe.csv: is no file; name the CSV file under `labels`", root, labels=str(root.parent / "pipe.csv"))


# --- folders that are not as they should be


def fails(message, root, **options):
    with pytest.raises(UserError, match=message) as caught:
        images = read(root, **options)
        for part in images.splits.values():
            list(part.batches)
    assert "\n" not in str(caught.value)


def test_no_path():
    fails(r"image_folder: no `path` is set; set it to the folder", "")


def test_no_folder(folder):
    root = folder()
    fails(r"pictures: no picture is in it; known suffixes: .*\.png", root)
    fails(r"none: the folder cannot be read \(No such file or directory\); check the path", root / "none")
    (root / "file").write_text("")
    fails(r"file: the folder cannot be read \(Not a directory\)", root / "file")


def test_unreadable_folder(folder, monkeypatch):
    root = folder(*many(3, "a", "b"))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so that the mode bits would test nothing
    fails(r"pictures/b: the folder cannot be read \(Permission denied\); check the path and who may read it", root)


def test_class_without_pictures(folder):
    root = folder(*many(3, "a", "b"))
    (root / "c").mkdir()
    (root / "c" / "notes.txt").write_text("later")
    fails(r"pictures/c: no picture is in this class folder; add some, or remove the folder", root)


def test_split_without_pictures(folder):
    root = folder(*many(3, "a", base="train/"))
    (root / "test" / "a").mkdir(parents=True)
    fails(r"pictures/test: no picture is in the folder; add some, or remove the folder", root)


def test_no_train(folder):
    fails(r"pictures: has the folder 'test' but no folder 'train'; add it, or rename 'test'", folder("test/a/0.png"))


def test_pictures_beside_class_folders(folder):
    fails(r"pictures/stray.png: is beside folders of pictures; move it", folder("a/0.png", "stray.png"))


def test_pictures_beside_splits(folder):
    fails(r"pictures/stray.png: is beside 'train'; move it into one of", folder("train/a/0.png", "stray.png"))


def test_a_folder_beside_splits(folder):
    root = folder("train/a/0.png", "test/a/0.png", "extra/a/0.png")
    fails(r"pictures: the folder 'extra' is beside 'train' but is not a split; move it elsewhere", root)


def test_two_names_of_one_split(folder):
    root = folder("train/a/0.png", "val/a/0.png", "valid/a/0.png")
    fails(r"pictures: the folders val, valid all mean 'val'; keep one", root)


def test_classes_in_one_split_only(folder):
    root = folder(*many(3, "a", base="train/"), "test/0.png")
    fails(r"pictures: the pictures of test are not in class folders, others are; sort them into", root)


def test_a_class_that_train_lacks_is_pointed_out(folder, caplog):
    read(folder("train/a/0.png", "val/a/0.png", "test/a/0.png", "test/b/0.png"))
    assert "train has no picture of class 'b', which test has" in caplog.text


def test_a_share_has_a_picture_of_each_class(folder, caplog):
    with caplog.at_level(logging.WARNING, "visrec"):
        images = read(folder(*many(7, "a", "b"), *many(6, "c")))
    assert {split: len(part.ids) for split, part in images.splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert {split: set(part.labels) for split, part in images.splits.items()} == {split: {0, 1, 2} for split in SPLITS}
    assert "val: 3 of 20 pictures, one of each class, in the place of the 2 that `val: 0.1` comes to" in caplog.text


def test_too_few_for_a_picture_of_each_class_in_each_split(folder):
    message = "5 pictures are too few to cut 3 for val and 3 for test from; add some, of each class"
    fails(message, folder(*many(2, "a", "b"), *many(1, "c")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 4, "test": 4}, r"8 pictures are too few to cut 4 for val and 4 for test from; lower `val` or `test`"),
        ({"val": 100}, r"8 pictures are too few to cut 100 for val and 2 for test from; lower `val` or `test`"),
        ({"val": 0.5, "test": 0.5}, r"8 pictures are too few to cut 4 for val and 4 for test from"),
        ({"val": 1.5}, r"`val: 1.5` is neither a share below 1 nor a whole number"),
        ({"val": 1, "test": 2}, r"`val: 1` is fewer than a picture of each of 2 classes; write 2 or more"),
    ],
)
def test_fewer_pictures_than_a_split_asks(folder, options, message):
    fails(message, folder(*many(4, "a", "b")), **options)


def test_a_class_too_small_to_be_cut(folder):
    root = folder(*many(10, "a"), "b/0.png", "b/1.png")
    fails(r"pictures: class 'b' has 2 images, too few for one in each of train, val, test", root, val=2, test=2)


def test_links(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    root = folder(*many(3, "a"))
    Image.new("RGB", (4, 4)).save(tmp_path / "outside" / "0.png")
    link = root / "a" / "link.png"
    link.symlink_to(tmp_path / "outside" / "0.png")
    fails(r"pictures/a/link.png: the link leads out of the folder, to .*outside/0.png; put the files themselves", root)
    link.unlink()
    (root / "b").symlink_to(tmp_path / "outside")
    fails(r"pictures/b: the link leads out of the folder", root)
    (root / "b").unlink()
    (root / "b").symlink_to(root / "a")
    fails(r"pictures/b: the link leads to a folder, which would be read twice; remove the link", root)
    (root / "b").unlink()
    link.symlink_to(root / "a" / "none.png")
    fails(r"pictures/a/link.png: the link leads nowhere; fix or remove it", root)
    link.unlink()
    link.symlink_to(link)
    fails(r"pictures/a/link.png: the link leads nowhere", root)
    link.unlink()
    link.symlink_to("000.png")
    assert count(read(root, val=1, test=1)) == 4
    (tmp_path / "shortcut").symlink_to(root)  # the folder itself may be a link
    assert labels(read(tmp_path / "shortcut", val=1, test=1)) == labels(read(root, val=1, test=1))


def test_skip_leaves_out_links_and_names_that_cannot_be_used(folder, tmp_path, caplog):
    root = folder(*many(5, "a"))
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (root / "a" / "dangling.jpg").symlink_to("none.jpg")
    (root / "a" / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "a" / "loop.png").symlink_to("loop.png")
    (root / "a" / "iphone.heic").touch()
    (root / "b").symlink_to(tmp_path)
    (root / "a" / "000.png").rename(root / "a" / os.fsdecode(b"\xff.png"))
    (root / "a" / "001.png").rename(root / "a" / "car\rriage.png")
    fails(r"pictures/a/car\\rriage.png: has a control character in its name; rename it \(6 more such\)", root)
    assert count(read(root, val=1, test=1, on_error="skip")) == 3
    for name in ("dangling.jpg", "out.png", "loop.png", "iphone.heic", "/b", "car\\rriage.png", "\\udcff.png"):
        assert f"{name}: " in caplog.text
    assert "iphone.heic: is HEIC, which is not read; save it as JPEG" in caplog.text
    rows = "".join(f"a/{name},x\n" for name in ("002.png", "003.png", "004.png", "out.png", "dangling.jpg"))
    listed = table(root, f"path,label\r\n{rows}\n,\n\n")
    assert count(read(root, val=1, test=1, on_error="skip", **listed)) == 3


def test_skip_leaves_out_a_class_of_which_nothing_can_be_used_with_the_folders_in_it(folder):
    root = folder(*many(4, "b"), *many(4, "c"))
    (root / "a" / "notes").mkdir(parents=True)
    (root / "a" / "1.heic").touch()
    (root / "a" / "notes" / "x.txt").touch()
    assert read(root, val=2, test=2, on_error="skip").classes == ["b", "c"]


def test_what_is_no_picture_stops_nothing(folder, tmp_path):
    root = folder(*many(3, "a"))
    (root / "README").symlink_to(tmp_path / "elsewhere" / "README")
    (root / "notes.txt").symlink_to("/etc/hostname")
    (root / "a" / os.fsdecode(b"\xfcber.txt")).touch()
    (root / "a" / "two\nlines.txt").touch()
    assert count(read(root, val=1, test=1)) == 3


@pytest.mark.parametrize("name", [b"\xfc", b"sealed"])
def test_a_folder_whose_pictures_nobody_knows_stops_always(folder, name, monkeypatch):
    root = folder(*many(3, "a"), *many(3, "b"))
    (root / "b").rename(root / os.fsdecode(name))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sealed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = r"udcfc: its name is not UTF-8; rename it$" if name == b"\xfc" else "sealed: the folder cannot be read"
    fails(message, root, on_error="skip", val=1, test=1)


def test_a_folder_of_other_files_says_which(tmp_path):
    for name in ("0.heic", "1.heic"):
        (tmp_path / name).touch()
    fails(r"0.heic: is HEIC, which is not read; save it as JPEG \(1 more such\)", tmp_path)
    for name in ("0.heic", "1.heic"):
        (tmp_path / name).rename((tmp_path / name).with_suffix(".cr2"))
    fails(r"no picture is in it \(.cr2 2\); known suffixes", tmp_path)


def test_a_name_that_is_no_text(folder):
    root = folder(*many(3, "a"))
    (root / "a" / "000.png").rename(root / "a" / os.fsdecode(b"\xff.png"))
    fails(r"pictures/a/\\udcff.png: its name is not UTF-8; rename it", root)


def test_a_pipe_is_no_picture(folder):
    root = folder(*many(3, "a"))
    os.mkfifo(root / "a" / "pipe.png")  # to open it would wait forever
    assert count(read(root, val=1, test=1)) == 3


def spoil(root):
    (root / "train/a/001.png").write_bytes(b"")
    good = (root / "train/b/002.png").read_bytes()
    (root / "train/b/002.png").write_bytes(good[: len(good) // 2])


def test_a_broken_picture_stops(folder):
    root = folder(*(path for split in SPLITS for path in many(3, "a", "b", base=f"{split}/")))
    spoil(root)
    fails(r"pictures/train/a/001.png: is empty \(0 bytes\); replace or remove it, or set `on_error: skip`$", root)


@pytest.mark.parametrize("threads", [1, 3])
def test_broken_pictures_are_skipped(folder, threads):
    root = folder(*(path for split in SPLITS for path in many(3, "a", "b", base=f"{split}/")))
    whole = {split: pixels(part) for split, part in read(root).splits.items()}
    spoil(root)
    images = read(root, on_error="skip", threads=threads)
    for split, part in images.splits.items():
        kept = [row for row in range(6) if split != "train" or row not in (1, 5)]
        assert np.array_equal(pixels(part), whole[split][kept])
        assert len(part.ids) == len(part.labels) == len(kept)
    assert images.split_rule == "train, val and test as given: 4 / 6 / 6"
    assert [(each, reason.split(":")[0]) for each, reason in images.skipped] == [
        ("train/a/001.png", "is empty (0 bytes)"),
        ("train/b/002.png", "cannot be decoded"),
    ]


def test_splits_and_classes_are_of_the_pictures_that_are_there(folder, caplog):
    root = folder(*many(20, "a", "b"), *many(2, "c"))
    for path in many(10, "a", "b") + many(2, "c"):
        (root / path).write_bytes(b"")
    images = read(root, on_error="skip", val=0.1, test=0.1)
    assert list(images.classes) == ["a", "b"]
    assert images.split_rule.endswith(": 16 / 2 / 2")
    assert {split: len(part.ids) for split, part in images.splits.items()} == {"train": 16, "val": 2, "test": 2}
    assert "no picture of class 'c' can be read: the class is left out" in caplog.text
    assert len(images.skipped) == 22
    assert sum(len(pixels(part)) for part in images.splits.values()) == 20


def test_a_class_of_which_train_has_no_whole_picture_is_pointed_out(folder, caplog):
    root = folder(*many(2, "a", "b", base="train/"), *many(1, "a", "b", base="val/"), *many(1, "a", "b", base="test/"))
    for path in many(2, "b", base="train/"):
        (root / path).write_bytes(b"")
    assert list(read(root, on_error="skip").classes) == ["a", "b"]
    assert "train has no picture of class 'b', which val has" in caplog.text


def test_all_pictures_broken_is_one_line(folder):
    root = folder(*many(3, "a", "b"))
    for path in many(3, "a", "b"):
        (root / path).write_bytes(b"x")
    fails(r"pictures: none of 6 pictures can be read; the first, a/000\.png: is not a picture", root, on_error="skip")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Training", "Testing", "Validation"), ("train", "test", "val")),
        (("TRAIN", "Test", "valid"), ("train", "test", "val")),
        (("train_set", "test-set", "dev_set"), ("train", "test", "val")),
        (("TrainImages", "TestImages", "ValImages"), ("train", "test", "val")),
        (("train2017", "holdout", "val2017"), ("train", "test", "val")),
        (("seg_train", "seg_test", "eval"), ("train", "test", "val")),
        (("training data", "testset", "evaluation"), ("train", "test", "val")),
        (("birds_train_v2", "birds_test_v2", "Birds Val v2"), ("train", "test", "val")),
    ],
)
def test_names_of_splits(folder, folders, splits):
    root = folder(*(path for name in folders for path in many(1, "a", "b", base=f"{name}/")))
    found = labels(read(root))
    assert list(read(root).classes) == ["a", "b"]
    assert {split: set(part) for split, part in found.items()} == {
        split: {f"{name}/a/000.png", f"{name}/b/000.png"} for name, split in zip(folders, splits, strict=True)
    }


@pytest.mark.parametrize("name", ["contest", "values", "evening", "developer", "train station", "testA", "set"])
def test_other_names_are_classes(name):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (many(2, "a", "b", base="images/"), r"'images' is the only class folder, with the folders 'a', 'b' inside; if"),
        (many(2, "a", "b", base="set/train/") + many(2, "a", "b", base="set/test/"), r"'set' is the only class folder"),
        (
            [*many(2, "a", "b", base="train/x/"), "test/x/0.png"],
            r"train: 'x' is the only class folder",
        ),
        (
            many(2, "a", "b") + many(2, "a", "b", base="unseen/"),
            r"unseen: has folders like those beside it",
        ),
        (many(2, "a", "b", base="Testing/") + many(2, "a", base="Val/"), r"no folder 'train'; add it, or rename"),
    ],
)
def test_folders_that_are_no_classes_are_refused(folder, paths, message):
    fails(message, folder(*paths))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            many(9, "a", "b", base="fold1/") + many(9, "a", "b", base="fold2/"),
            "every class folder ('fold1', 'fold2')",
        ),
        (many(9, "trainA", "trainB", "testA", "testB"), "the folders testA, testB, trainA, trainB are classes here"),
        (many(9, "a"), "all pictures are of one class, 'a'"),
        # One lacks a class; a split beside another folder; splits inside classes; one class under two names.
        (
            many(9, "a", "b", "c", base="entrenar/") + many(9, "a", "b", base="probar/"),
            "every class folder ('entrenar', 'probar') has the same folders inside ('a', 'b')",
        ),
        (many(9, "train/a", "train/b", "more"), "the folder 'train' is a class here, though it has folders inside"),
        (many(9, "a/train", "a/test", "b/train"), "folders named like splits inside ('test', 'train')"),
        (many(9, "Cat", "cat ", "dog"), "'Cat', 'cat ' are different classes"),
        (many(9, "caf\u00e9", "cafe\u0301"), "are different classes; if they are one"),
        (many(9, "cat", "cat\u200b"), r"'cat', 'cat\u200b' are different classes"),
    ],
)
def test_folders_that_may_be_no_classes_are_pointed_out(folder, caplog, paths, message):
    read(folder(*paths), val=4, test=4)
    assert message in caplog.text


def test_folders_inside_classes_are_fine(folder, caplog):
    read(folder(*many(9, "a/x", "a/y", "b/x", "c")), val=3, test=3)
    assert not caplog.records


def test_thumbnails_of_programs_are_no_pictures(folder, caplog):
    photos = many(5, "a", "b")
    made = [f"{each.rpartition('/')[0]}/@eaDir/{each.rpartition('/')[2]}/SYNOPHOTO_THUMB_M.png" for each in photos]
    images = read(folder(*photos, *made, "#recycle/a/0.png", "__MACOSX/a/000.png", ".git/x.png"), val=2, test=2)
    assert sorted(key for part in labels(images).values() for key in part) == photos
    assert list(images.classes) == ["a", "b"]
    assert "left out 5 folders that programs make (" in caplog.text
    assert "@eaDir 2" in caplog.text and "first #recycle" in caplog.text


def test_what_cannot_be_opened_is_skipped_too(folder, tmp_path):
    root = folder(*many(9, "a", "b"))
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (root / "a/nowhere.png").symlink_to("none.png")
    (root / "a/out.png").symlink_to(tmp_path / "outside.png")
    (root / "b/again").symlink_to(root / "a")
    fails(r"pictures/a/nowhere.png: the link leads nowhere", root)
    images = read(root, on_error="skip", val=4, test=4)
    assert count(images) == 18
    assert [path for path, _ in images.skipped] == ["a/nowhere.png", "a/out.png", "b/again"]


def test_a_class_and_a_split_of_which_nothing_can_be_used_are_left_out(folder, caplog):
    root = folder(*many(9, "a", "b", base="train/"), "train/c/x.png", *many(3, "a", base="val/"))
    (root / "train/c/x.png").rename(root / "train/c/x.heic")
    for path in (root / "val/a").iterdir():
        path.unlink()
        path.symlink_to("gone.png")
    images = read(root, on_error="skip", val=4, test=4)
    assert (list(images.classes), count(images), len(images.skipped)) == (["a", "b"], 18, 4)
    assert "left out the folder" in caplog.text and "val: nothing in it can be used" in caplog.text
    assert images.split_rule.startswith("val and test cut from train")


def test_nothing_that_can_be_used_says_why(folder):
    root = folder("a/0.png")
    (root / "a/0.png").rename(root / "a/0.heic")
    fails(r"none of 1 can be used; the first, a/0.heic: is HEIC", root, on_error="skip")


def test_a_split_whose_pictures_are_broken_is_pointed_out(folder, caplog):
    root = folder(*many(9, "a", "b", base="train/"), "val/a/0.png")
    (root / "val/a/0.png").write_bytes(b"?")
    assert read(root, on_error="skip", val=4, test=4).split_rule.startswith("val and test cut from train")
    assert "no picture of val can be read" in caplog.text


def test_a_readme_and_other_names_stop_nothing(folder, tmp_path):
    root = folder(*many(9, "a", "b"))
    (tmp_path / "README").touch()
    (root / "README").symlink_to(tmp_path / "README")
    (root / "old.txt").symlink_to("gone.txt")
    (root / os.fsdecode(b"caf\xe9.txt")).touch()
    for on_error in ("stop", "skip"):
        images = read(root, val=4, test=4, on_error=on_error)
        assert (count(images), list(images.skipped)) == (18, [])


def test_what_is_left_out_is_a_line_each_in_the_log(folder, tmp_path, caplog):
    root = folder(*many(4, "a", "b"), "a/new\nline.png")
    (root / os.fsdecode(b"a/caf\xe9.png")).write_bytes((root / "a/000.png").read_bytes())
    defaults = {key: option["default"] for key, option in declared("datasets", "image_folder")["OPTIONS"].items()}
    prepare("image_folder", 8, {**defaults, "path": str(root), "on_error": "skip"}, {}, 1, tmp_path / "images.h5")
    said = [record.getMessage() for record in caplog.records if record.name == "visrec.datasets"]
    assert [line.partition(":")[0] for line in said if "left out" in line] == [
        r"left out a/caf\udce9.png",
        r"left out a/new\nline.png",
    ]
