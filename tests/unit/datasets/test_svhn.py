import numpy as np
import pytest
import scipy.io
import small_archives
from PIL import Image
from torchvision.datasets import SVHN
from torchvision.transforms import Compose, PILToTensor, Resize

from visrec.data.images import read_image_info
from visrec.datasets import svhn

SMALL = {"train": 50, "val": 20, "test": 30}


@pytest.fixture
def paths(tmp_path):
    return small_archives.svhn(tmp_path)


def theirs(paths, part, size, monkeypatch):
    name = f"{part}_32x32.mat"
    entry = ["", name, small_archives.checksum(paths[name]).removeprefix("md5:")]
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list | {part: entry})
    return SVHN(paths[name].parent, part, transform=Compose([Resize((size, size)), PILToTensor()]))


@pytest.mark.parametrize("size", [32, 8, 48])
def test_pixels_and_labels_are_torchvisions(paths, size, monkeypatch):
    ours = small_archives.read("svhn", size, paths, **SMALL)
    seen = 0
    for part, splits in (("train", ["train"]), ("test", ["val", "test"])):
        reference = theirs(paths, part, size, monkeypatch)
        for source in (ours.splits[split] for split in splits):
            for label, (name, picture) in zip(source.labels, small_archives.images(source).items(), strict=True):
                where, row = name.rsplit("-", 1)
                expected, digit = reference[int(row)]
                assert where == f"{part}_32x32"
                np.testing.assert_array_equal(picture, expected.numpy())
                assert label == digit
                seen += 1
    assert seen == 100


def test_published_checksums_are_torchvisions():
    for part in ("train", "test"):
        url, name, md5 = SVHN.split_list[part]
        assert (svhn.ARCHIVES[name]["url"], svhn.ARCHIVES[name]["checksum"]) == (url, f"md5:{md5}")


def test_the_papers_split_is_stratified_and_disjoint(paths):
    ours = small_archives.read("svhn", 32, paths, **SMALL)
    assert {split: np.bincount(part.labels).tolist() for split, part in ours.splits.items()} == {
        "train": [5] * 10,
        "val": [2] * 10,
        "test": [3] * 10,
    }
    ids = np.concatenate([part.ids for part in ours.splits.values()])
    assert len(set(ids)) == 100
    assert ours.split_rule == (
        "50 of the official train, 20 / 30 of the official test, stratified by digit, drawn once with seed 0"
    )


def test_official_keeps_test_whole_and_cuts_val_from_train(paths):
    ours = small_archives.read("svhn", 32, paths, official=True, val=20)
    assert {split: len(part.ids) for split, part in ours.splits.items()} == {"train": 40, "val": 20, "test": 50}
    assert all(name.startswith("train_32x32-") for name in [*ours.splits["train"].ids, *ours.splits["val"].ids])
    assert ours.splits["test"].ids.tolist() == [f"test_32x32-{row:06d}" for row in range(50)]
    fewer = small_archives.read("svhn", 32, paths, official=True, train=10, val=20, test=10)
    assert [len(part.ids) for part in fewer.splits.values()] == [10, 20, 10]


def test_the_defaults_are_the_papers(paths, tmp_path):
    small_archives.refused("svhn", paths, tmp_path, "has 60 images, but the splits need 70,000 train")
    small_archives.refused("svhn", paths, tmp_path, "50 images, but the splits need 10,000 val . 16,000 test", train=50)


def test_prepared_file(paths, tmp_path):
    small_archives.prepare("svhn", paths, tmp_path / "images.h5", **SMALL)
    info = read_image_info(tmp_path / "images.h5")
    assert info.counts == SMALL
    assert info.classes == list("0123456789")


def pictures(count):
    return small_archives.pixels(count, 32, 32).transpose(1, 2, 3, 0)


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (pictures(30)[:, :, :2], np.ones((30, 1)), r"X must be uint8 \(32, 32, 3, N\), not uint8 \(32, 32, 2, 30\)"),
        (pictures(30)[:16], np.ones((30, 1)), r"not uint8 \(16, 32, 3, 30\)"),
        (pictures(30).astype(float), np.ones((30, 1)), r"not double"),
        (pictures(30)[..., 0], np.ones((30, 1)), r"not uint8 \(32, 32, 3\)"),
        (pictures(30), np.ones((29, 1)), r"y must have 30 labels as X has images, not \(29, 1\)"),
        (pictures(30), np.ones((30, 2)), r"y must have 30 labels"),
        (pictures(30), np.arange(30)[:, None] % 12, "y has the label 11"),
        (pictures(30), np.arange(30)[:, None] % 11 - 1.0, "y has the label -1.0"),
        (pictures(30), np.full((30, 1), np.nan), "y has the label nan"),
    ],
)
def test_another_content_is_refused(paths, tmp_path, X, y, match):
    scipy.io.savemat(paths["train_32x32.mat"], {"X": X, "y": y})
    small_archives.refused("svhn", paths, tmp_path, match, train=10, val=10, test=20)


def test_a_file_without_the_arrays_is_refused(paths, tmp_path):
    scipy.io.savemat(paths["test_32x32.mat"], {"z": np.ones(3)})
    small_archives.refused("svhn", paths, tmp_path, "test_32x32.mat: X must be uint8", **SMALL)


def test_truncated_and_foreign_files_are_refused(paths, tmp_path):
    path = paths["train_32x32.mat"]
    whole = path.read_bytes()
    for data in (b"", whole[:50], whole[:200], whole[: len(whole) // 2], b"<html>" * 100, b"\x89HDF\r\n\x1a\n" * 64):
        path.write_bytes(data)
        small_archives.refused("svhn", paths, tmp_path, "train_32x32.mat: ", **SMALL)


def test_a_matlab_7_3_file_is_named(paths, tmp_path):
    paths["train_32x32.mat"].write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    small_archives.refused("svhn", paths, tmp_path, "MATLAB 7.3", **SMALL)


def test_a_class_without_an_image_is_refused(paths, tmp_path):
    small_archives.svhn_file(paths["train_32x32.mat"], pictures(45), np.arange(45)[:, None] % 9 + 1)
    small_archives.refused("svhn", paths, tmp_path, "class '0' has no image", train=40, val=20, test=30)


def test_resizing_is_pillows_bilinear(paths):
    ours = small_archives.read("svhn", 20, paths, **SMALL).splits["train"]
    pixels = scipy.io.loadmat(paths["train_32x32.mat"])["X"][..., int(ours.ids[0][-6:])]
    expected = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(next(iter(ours.batches))[0], expected.transpose(2, 0, 1))
