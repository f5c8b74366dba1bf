import zipfile

import numpy as np
import pytest
import small_archives
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, PILToTensor, Resize

from visrec.data.images import read_image_info
from visrec.datasets import tiny_imagenet

SMALL = {"test": 16}
NAME = "tiny-imagenet-200.zip"
ROOT = "tiny-imagenet-200"


@pytest.fixture
def paths(tmp_path):
    return small_archives.tiny_imagenet(tmp_path)


def unpacked(paths, folder):
    with zipfile.ZipFile(paths[NAME]) as file:
        file.extractall(folder)
    return folder / ROOT


@pytest.mark.parametrize("size", [64, 32, 8])
def test_train_is_torchvisions_image_folder(paths, tmp_path, size):
    root = unpacked(paths, tmp_path / "unpacked")
    reference = ImageFolder(root / "train", Compose([Resize((size, size)), PILToTensor()]))
    ours = small_archives.read("tiny_imagenet", size, paths, **SMALL).splits["train"]
    assert len(reference) == len(ours.ids) == 24
    for row, (name, picture) in enumerate(small_archives.images(ours).items()):
        expected, number = reference[row]
        assert str(root.parent / name) == reference.samples[row][0]
        np.testing.assert_array_equal(picture, expected.numpy())
        assert ours.labels[row] == number


def test_test_is_the_official_validation_as_image_folder_reads_it(paths, tmp_path):
    root = unpacked(paths, tmp_path / "unpacked")
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        (tmp_path / "sorted" / wnid).mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / name).rename(tmp_path / "sorted" / wnid / name)
    reference = ImageFolder(tmp_path / "sorted", Compose([Resize((32, 32)), PILToTensor()]))
    expected = {path.rsplit("/", 1)[1]: reference[row] for row, (path, _) in enumerate(reference.samples)}
    ours = small_archives.read("tiny_imagenet", 32, paths, **SMALL).splits["test"]
    assert len(ours.ids) == 16
    for label, (name, picture) in zip(ours.labels, small_archives.images(ours).items(), strict=True):
        assert name.startswith(f"{ROOT}/val/images/val_")
        pixels, number = expected[name.rsplit("/", 1)[1]]
        np.testing.assert_array_equal(picture, pixels.numpy())
        assert label == number


def test_a_grey_picture_is_grey_in_all_channels(paths):
    ours = small_archives.images(small_archives.read("tiny_imagenet", 64, paths, **SMALL).splits["train"])
    grey = ours[f"{ROOT}/train/n01443537/images/n01443537_1.JPEG"]
    assert (grey[0] == grey[1]).all() and (grey[1] == grey[2]).all() and grey.std() > 10
    colour = ours[f"{ROOT}/train/n01443537/images/n01443537_0.JPEG"]
    assert (colour[0] != colour[1]).any()


def test_val_is_a_stratified_part_of_train_when_asked(paths):
    ours = small_archives.read("tiny_imagenet", 8, paths, val=8, **SMALL)
    assert {split: np.bincount(part.labels, minlength=4).tolist() for split, part in ours.splits.items()} == {
        "train": [4] * 4,
        "val": [2] * 4,
        "test": [4] * 4,
    }
    assert len({name for part in ours.splits.values() for name in part.ids}) == 40
    assert ours.split_rule.startswith("16 / 8 of the official train, 16 of the official validation images as test (the")
    none = small_archives.read("tiny_imagenet", 8, paths, **SMALL)
    assert [len(part.ids) for part in none.splits.values()] == [24, 0, 16]
    assert list(none.splits["val"].batches) == []


def test_classes_have_a_word_and_are_in_the_order_of_their_numbers(paths):
    assert small_archives.read("tiny_imagenet", 8, paths, **SMALL).classes == [
        "goldfish (n01443537)",
        "European fire salamander (n01629819)",
        "bullfrog (n01641577)",
        "tailed frog (n01644900)",
    ]


def test_prepared_file(paths, tmp_path):
    small_archives.prepare("tiny_imagenet", paths, tmp_path / "images.h5", val=4, **SMALL)
    assert read_image_info(tmp_path / "images.h5").counts == {"train": 20, "val": 4, "test": 16}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "official validation.: has 16 images, but the splits need 10,000 test"),
        ({"train": 100000, **SMALL}, "official train.: has 24 images, but the splits need 100,000 train . 0 val"),
        ({"train": 20, "val": 8, **SMALL}, "has 24 images, but the splits need 20 train . 8 val"),
        ({"val": 30, **SMALL}, "has 24 images, but the splits need"),
        ({"val": 3, **SMALL}, "val gets 3 images, too few for one of each of 4 classes"),
    ],
)
def test_too_few_images(paths, tmp_path, options, match):
    small_archives.refused("tiny_imagenet", paths, tmp_path, match, **options)


def changed(paths, contents):
    members = small_archives.tiny_imagenet_members() | {f"{ROOT}/{name}": data for name, data in contents.items()}
    small_archives.write_zip(paths[NAME], {name: data for name, data in members.items() if data is not None})


ORIGINAL = {name.removeprefix(f"{ROOT}/"): data for name, data in small_archives.tiny_imagenet_members().items()}
ANNOTATIONS = ORIGINAL["val/val_annotations.txt"]
PICTURE = ORIGINAL["val/images/val_0.JPEG"]


@pytest.mark.parametrize(
    ("contents", "match"),
    [
        ({"wnids.txt": None}, "has no member 'tiny-imagenet-200/wnids.txt'"),
        ({"words.txt": None}, "has no member 'tiny-imagenet-200/words.txt'"),
        ({"words.txt": b"n01443537\tgoldfish\n"}, "words.txt has no row for 'n01629819'"),
        ({"words.txt": b"\xff\xfe"}, "words.txt' is not text"),
        ({"wnids.txt": b"n01443537\n" * 2}, "wnids.txt must name two or more classes, each once"),
        ({"wnids.txt": ORIGINAL["wnids.txt"] + b"n99999999\n"}, r"class 'not among them \(n99999999\)' has no image"),
        ({"train/n5/images/n5_0.JPEG": PICTURE}, "folder train/n5 is not in wnids.txt"),
        ({"val/val_annotations.txt": b"\n".join(ANNOTATIONS.splitlines()[1:])}, "has no row for 'val_0.JPEG'"),
        (
            {"val/val_annotations.txt": ANNOTATIONS + b"val_16.JPEG\tn01443537\t0\t0\t1\t1\n"},
            "has a row for 'val_16.JPEG', which is not in val/images",
        ),
        ({"val/val_annotations.txt": ANNOTATIONS + ANNOTATIONS[:40].splitlines()[0]}, "line 17: has"),
        (
            {"val/val_annotations.txt": ANNOTATIONS.replace(b"val_1.JPEG", b"val_0.JPEG")},
            "line 2: has 'val_0.JPEG' a second time",
        ),
        ({"val/val_annotations.txt": ANNOTATIONS.replace(b"\t62\n", b"\n", 1)}, "line 1: has 5 columns, not 6"),
        ({"val/val_annotations.txt": ANNOTATIONS.replace(b"n01443537", b"n00000001")}, "'n00000001' is not in wnids"),
        ({"val/images/val_3.JPEG": b""}, r"val_3.JPEG: is empty \(0 bytes\)"),
        ({"val/images/val_3.JPEG": PICTURE[:500]}, "val_3.JPEG: cannot be decoded"),
        ({"../x": b"1"}, "unsafe name"),
    ],
)
def test_another_content_is_refused(paths, tmp_path, contents, match):
    changed(paths, contents)
    small_archives.refused("tiny_imagenet", paths, tmp_path, match, **SMALL)


def test_a_class_folder_without_pictures_is_refused(paths, tmp_path):
    changed(paths, {name: None for name in ORIGINAL if name.startswith("train/n01443537/images/")})
    small_archives.refused("tiny_imagenet", paths, tmp_path, "class 'goldfish .n01443537.' has no image", **SMALL)


def test_a_truncated_zip_is_refused(paths, tmp_path):
    whole = paths[NAME].read_bytes()
    paths[NAME].write_bytes(whole[: len(whole) // 2])
    small_archives.refused("tiny_imagenet", paths, tmp_path, "is not a whole zip file", **SMALL)


def test_the_source_of_the_checksum_is_cited():
    assert tiny_imagenet.ARCHIVES[NAME]["checksum"] == "md5:90528d7ca1a48142e341f4ef8d21d0de"
    assert "Avalanche" in tiny_imagenet.__doc__
