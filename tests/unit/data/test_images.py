import h5py
import numpy as np
import pytest
from images_fixture import source, write

from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, read_image_info, read_images, write_images
from visrec.errors import UserError


def test_images_come_back_as_they_were_written(tmp_path):
    splits = write(tmp_path / "images.h5")
    for split, given in splits.items():
        read = read_images(tmp_path / "images.h5", split)
        assert np.array_equal(read.images, np.concatenate(given.batches))
        assert read.labels.tolist() == given.labels.tolist()
        assert read.ids.tolist() == given.ids.tolist()
    info = read_image_info(tmp_path / "images.h5")
    assert info.counts == {"train": 7, "val": 2, "test": 3}
    assert info.classes == ["a", "b", "ç"]
    assert info.size == 8


def test_fingerprint_follows_pixels_labels_and_ids_but_not_batching(tmp_path):
    def fingerprint(**changes):
        write(tmp_path / "images.h5", **changes)
        return read_image_info(tmp_path / "images.h5").fingerprint

    first = fingerprint()
    assert fingerprint(train=source(7, "train", batches=5)) == first
    other = source(7, "train")
    other.labels[0] = 2
    assert fingerprint(train=other) != first
    assert fingerprint(train=source(7, "Train")) != first


@pytest.mark.parametrize(
    "change, message",
    [
        (ImageSource([np.zeros((2, 3, 8, 8), np.uint8)], np.array([0, 3]), np.array(["x", "y"])), "from -1 to 2"),
        (ImageSource([np.zeros((1, 3, 8, 8), np.uint8)], np.array([0, 1]), np.array(["x", "y"])), "but 1 images"),
        (ImageSource([np.zeros((2, 3, 8, 9), np.uint8)], np.array([0, 1]), np.array(["x", "y"])), "got a batch"),
        (ImageSource([np.zeros((1, 3, 8, 8), np.uint8)], np.array([0]), np.array(["train0"])), "'train0' occurs"),
    ],
)
def test_wrong_images_are_refused_and_nothing_is_left(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        write(tmp_path / "images.h5", val=change)
    assert list(tmp_path.iterdir()) == []


def test_foreign_and_damaged_files_are_named_in_one_line(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    for name, message in (("text.h5", "cannot be read"), ("foreign.h5", "is not a"), ("absent.h5", "cannot be read")):
        with pytest.raises(UserError, match=message) as caught:
            read_images(tmp_path / name, "train")
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_a_full_disk_is_one_line_and_nothing_is_left(small_disk):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 3, 64, 64), dtype=np.uint8)
    splits = {
        split: ImageSource([pixels], np.zeros(400), np.array([f"{split}{i}" for i in range(400)])) for split in SPLITS
    }
    with pytest.raises(UserError, match=r"images.h5: the disk is full; make room and run again$"):
        write_images(small_disk / "images.h5", ImageSet(splits, ["a"], "", ""), 64)
    assert list(small_disk.iterdir()) == []


def test_attributes_and_identity_are_kept(tmp_path):
    splits = {name: source(count, name) for name, count in (("train", 7), ("val", 2), ("test", 3))}
    attributes = np.eye(7, 4, dtype=np.uint8)
    train = splits["train"]
    splits["train"] = ImageSource(train.batches, train.labels, train.ids, attributes, np.arange(7) * 10)
    images = ImageSet(splits, ["a", "b", "c"], "", "", attributes=["w", "x", "y", "z"])
    write_images(tmp_path / "images.h5", images, 8)
    with h5py.File(tmp_path / "images.h5") as file:
        assert file["train/attributes"][:].tolist() == attributes.tolist()
        assert file["train/identity"][:].tolist() == [0, 10, 20, 30, 40, 50, 60]
        assert "attributes" not in file["val"]
    assert read_image_info(tmp_path / "images.h5").attributes == ["w", "x", "y", "z"]
    with pytest.raises(UserError, match="attributes of train must be 7 rows of 3"):
        write_images(tmp_path / "x.h5", ImageSet(splits, ["a", "b", "c"], "", "", ["w", "x", "y"]), 8)


def test_pictures_that_could_not_be_read_are_named(tmp_path):
    splits = {name: source(count, name) for name, count in (("train", 7), ("val", 2), ("test", 3))}
    skipped = [("x", "is empty"), ("y", "is no picture")]
    write_images(tmp_path / "images.h5", ImageSet(splits, ["a", "b", "c"], "", "", skipped=skipped), 8)
    assert read_image_info(tmp_path / "images.h5").skipped == [["x", "is empty"], ["y", "is no picture"]]
