import errno
import os

import h5py
import numpy as np
import pytest

from visrec.data import files, images
from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.files import atomic, write_text
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, read_image_info, read_images, write_images
from visrec.errors import UserError


def source(count: int, prefix: str, size: int = 8, batches: int = 2) -> ImageSource:
    rng = np.random.default_rng(len(prefix))
    pixels = rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return ImageSource(
        np.array_split(pixels, batches), np.arange(count) % 3, np.array([f"{prefix}{i}" for i in range(count)])
    )


def write(path, **changes):
    splits = {"train": source(7, "train"), "val": source(2, "val"), "test": source(3, "test")} | changes
    write_images(path, ImageSet(splits, ["a", "b", "ç"], "made up", "random"), 8)
    return splits


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


def embed(path, images, status="ok", spoil=None):
    def batches(split):
        for batch in np.array_split(read_images(images, split).images, 2):
            rows = batch.reshape(len(batch), -1).astype(np.float32)
            if spoil == split:
                rows[0, 0] = np.nan
            yield {"first": rows[:, :5], "second": rows[:, 5:12]}

    write_embeddings(path, images, {split: batches(split) for split in SPLITS}, spec={"encoder": "x"}, status=status)


def test_embeddings_follow_the_rows_of_the_images(tmp_path):
    write(tmp_path / "images.h5")
    embed(tmp_path / "embeddings.h5", tmp_path / "images.h5")
    read = read_embeddings(tmp_path / "embeddings.h5")
    for split in SPLITS:
        images = read_images(tmp_path / "images.h5", split)
        assert read.splits[split].ids.tolist() == images.ids.tolist()
        assert read.splits[split].labels.tolist() == images.labels.tolist()
        assert np.array_equal(read.splits[split].features, images.images.reshape(len(images.ids), -1)[:, :12])
        assert read.splits[split].features.dtype == np.float32
    assert read.layers == {"first": slice(0, 5), "second": slice(5, 12)}
    assert (read.status, read.spec, read.classes) == ("ok", {"encoder": "x"}, ["a", "b", "ç"])
    with h5py.File(tmp_path / "embeddings.h5") as file:
        assert file["train/features"].chunks is None
        assert file["train/features"].dtype == np.float32


def embed_values(folder, values, dtype):
    """embeddings.h5 with `values` in order as the features of the seven train images; those of others are 0."""
    write(folder / "images.h5")
    rows = np.resize(np.asarray(values, np.float32), (7, -(-len(values) // 7)))
    batches = {split: [{"features": np.zeros((count, rows.shape[1]))}] for split, count in (("val", 2), ("test", 3))}
    batches["train"] = [{"features": rows[:4]}, {"features": rows[4:]}]
    write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={}, dtype=dtype)
    return rows, read_embeddings(folder / "embeddings.h5").splits["train"].features


def test_float16_takes_half_and_comes_back_as_float32_within_its_error(tmp_path):
    magnitudes = np.geomspace(1e-9, 65504, 3500)
    rows, features = embed_values(tmp_path, np.concatenate([magnitudes, -magnitudes]), "float16")
    with h5py.File(tmp_path / "embeddings.h5") as file:
        assert {file[split]["features"].dtype for split in SPLITS} == {np.dtype("float16")}
        assert file["train/features"].id.get_storage_size() == rows.size * 2
        assert file["train/features"].chunks is None
    assert features.dtype == np.float32
    bound = np.where(np.abs(rows) < 2.0**-14, 2.0**-25, np.abs(rows) / 2**11)
    assert (np.abs(features.astype(float) - rows.astype(float)) <= bound).all()
    assert (features != rows).any()


def test_what_float16_can_hold_comes_back_exactly(tmp_path):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].astype(np.float32)
    rows, features = embed_values(tmp_path, every, "float16")
    assert features.tobytes() == rows.tobytes()


def test_a_value_beyond_float16_is_refused_in_one_line_and_nothing_is_left(tmp_path):
    embed_values(tmp_path, [65504.0, -65504.0, 0.5], "float16")
    (tmp_path / "embeddings.h5").unlink()
    with pytest.raises(UserError) as error:
        embed_values(tmp_path, [0.0, 1.0, 2.0, 3.0, 4.0, -65505.0], "float16")
    assert str(error.value) == (
        f"{tmp_path}/embeddings.h5: a feature of train row 4 or after is 65505, beyond the 65504 that float16 holds; "
        "say `embeddings: {dtype: float32}` in the config and run again"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["images.h5"]
    assert embed_values(tmp_path, [0.0, 1.0, 2.0, 3.0, 4.0, -65505.0], "float32")[1][5, 0] == -65505


def test_a_status_travels_without_features(tmp_path):
    write(tmp_path / "images.h5")
    embed(tmp_path / "embeddings.h5", tmp_path / "images.h5", status="diverged")
    read = read_embeddings(tmp_path / "embeddings.h5")
    assert read.status == "diverged"
    assert read.splits["test"].features.shape == (3, 0)
    assert len(read.splits["test"].ids) == 3


def test_features_that_are_not_finite_under_status_ok_are_refused(tmp_path):
    write(tmp_path / "images.h5")
    with pytest.raises(UserError, match="a feature of val row 0"):
        embed(tmp_path / "embeddings.h5", tmp_path / "images.h5", spoil="val")
    assert [path.name for path in tmp_path.iterdir()] == ["images.h5"]


def test_foreign_and_damaged_files_are_named_in_one_line(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    for name, message in (("text.h5", "cannot be read"), ("foreign.h5", "is not a"), ("absent.h5", "cannot be read")):
        with pytest.raises(UserError, match=message) as caught:
            read_images(tmp_path / name, "train")
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_nothing_is_left(small_disk):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 3, 64, 64), dtype=np.uint8)
    splits = {
        split: ImageSource([pixels], np.zeros(400), np.array([f"{split}{i}" for i in range(400)])) for split in SPLITS
    }
    with pytest.raises(UserError, match=r"images.h5: the disk is full; make room and run again$"):
        write_images(small_disk / "images.h5", ImageSet(splits, ["a"], "", ""), 64)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "x.json: the disk is full; make room and run again"),
        (errno.EDQUOT, "x.json: the disk is full; make room and run again"),
        (errno.EROFS, "x.json: cannot be written (Read-only file system); fix it and run again"),
        (errno.EACCES, "x.json: cannot be written (Permission denied); fix it and run again"),
    ],
)
def test_a_file_that_cannot_be_begun_is_one_line(tmp_path, monkeypatch, number, message):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(UserError) as caught:
        write_text(tmp_path / "x.json", "")
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_a_file_that_may_not_be_read_is_not_taken_for_the_one_that_is_written(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "x.json"):
        raise PermissionError(errno.EACCES, "Permission denied", "picture.png")


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


def test_broken_pictures_are_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "ROWS_AT_ONCE", 2)
    whole = source(7, "train")
    broken: list = []

    def batches():
        yield from whole.batches
        broken.extend([(0, "is empty"), (4, "is no picture")])

    train = ImageSource(batches(), whole.labels, whole.ids, identity=np.arange(7), broken=broken)
    write(tmp_path / "images.h5", train=train)
    read = read_images(tmp_path / "images.h5", "train")
    keep = [1, 2, 3, 5, 6]
    assert read.ids.tolist() == [f"train{i}" for i in keep]
    assert read.labels.tolist() == whole.labels[keep].tolist()
    assert np.array_equal(read.images, np.concatenate(whole.batches)[keep])
    info = read_image_info(tmp_path / "images.h5")
    assert info.skipped == [["train0", "is empty"], ["train4", "is no picture"]]
    assert info.counts["train"] == 5
    with h5py.File(tmp_path / "images.h5") as file:
        assert file["train/identity"][:].tolist() == keep
        assert set(file["train"]) == {"images", "labels", "ids", "identity"}
