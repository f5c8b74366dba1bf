import itertools
import zipfile

import numpy as np
import pytest
import small_archives
from small_archives import ATTRIBUTES
from torchvision.datasets import CelebA
from torchvision.transforms import Compose, PILToTensor, Resize

from visrec.data import hdf5
from visrec.data.hdf5 import reading
from visrec.data.images import read_image_info
from visrec.datasets import celeba
from visrec.errors import UserError

SMALL = {"train": 12, "val": 6, "test": 6}
IMAGES, LIST, IDENTITY = celeba.ARCHIVES


@pytest.fixture
def paths(tmp_path):
    return small_archives.celeba(tmp_path)


class Unchecked(CelebA):
    """torchvision's, but for the checksums of the official files."""

    def _check_integrity(self):
        return True


def theirs(paths, root, transform):
    folder = root / "celeba"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(paths[IMAGES]) as file:
        file.extractall(folder)
    for name in (LIST, IDENTITY):
        (folder / name).write_bytes(paths[name].read_bytes())
    names = [f"{number:06d}.jpg" for number in range(1, 25)]
    for name, row in (
        ("list_eval_partition.txt", "0"),
        ("list_bbox_celeba.txt", "1 2 3 4"),
        ("list_landmarks_align_celeba.txt", "0 0 0 0 0 0 0 0 0 0"),
    ):
        header = [] if name == "list_eval_partition.txt" else ["24", "columns"]
        (folder / name).write_text("\n".join([*header, *(f"{each} {row}" for each in names)]) + "\n")
    return Unchecked(root, "all", ["attr", "identity"], transform)


@pytest.mark.parametrize(
    ("size", "crop", "height", "top"),
    [
        (64, "reference", 78, 7),
        (32, "reference", 39, 4),
        (64, "none", 64, 0),
        (8, "none", 8, 0),
        (8, "reference", 10, 1),
    ],
)
def test_pixels_attributes_and_identity_are_torchvisions(paths, tmp_path, size, crop, height, top):
    reference = theirs(paths, tmp_path / "theirs", Compose([Resize((height, size)), PILToTensor()]))
    ours = small_archives.read("celeba", size, paths, crop=crop, **SMALL)
    seen = 0
    for part in ours.splits.values():
        found = small_archives.images(part)
        for row, (name, picture) in enumerate(found.items()):
            expected, (attributes, identity) = reference[int(name.removesuffix(".jpg")) - 1]
            np.testing.assert_array_equal(picture, expected[:, top : top + size].numpy())
            np.testing.assert_array_equal(part.attributes[row], attributes.numpy())
            assert part.identity[row] == identity
            seen += 1
    assert seen == 24
    assert ours.attributes == ATTRIBUTES
    assert (part.attributes.dtype, part.identity.dtype) == (np.uint8, np.int64)


def test_crop_keeps_rows_7_to_70_at_64_px_and_fits_at_every_size():
    assert celeba.cropped(64) == (78, 7)
    for size in range(8, 219):
        height, top = celeba.cropped(size)
        assert top + size <= height


def test_published_checksums_are_torchvisions():
    published = {name: (number, md5) for number, md5, name in CelebA.file_list}
    for name, archive in celeba.ARCHIVES.items():
        assert archive["checksum"] == f"md5:{published[name][1]}"
        assert f"id={published[name][0]}&" in archive["url"]


def test_labels_by_attribute_combination_and_identity(paths):
    values = {}
    for line in paths[LIST].read_text().splitlines()[2:]:
        name, *row = line.split()
        values[name] = dict(zip(ATTRIBUTES, row, strict=True))
    people = dict(line.split() for line in paths[IDENTITY].read_text().splitlines())
    for label, name_of in {
        "Smiling": lambda name: ("" if values[name]["Smiling"] == "1" else "not ") + "Smiling",
        "Male+Young": lambda name: ", ".join(
            ("" if values[name][each] == "1" else "not ") + each for each in ("Male", "Young")
        ),
        "identity": lambda name: f"person {people[name]}",
    }.items():
        ours = small_archives.read("celeba", 8, paths, label=label, **SMALL)
        for part in ours.splits.values():
            found = [ours.classes[number] for number in part.labels]
            assert found == [name_of(name) for name in part.ids]
        assert set(itertools.chain(*[part.labels for part in ours.splits.values()])) == set(range(len(ours.classes)))
    assert small_archives.read("celeba", 8, paths, label="Male+Young", **SMALL).classes == [
        "Male, Young",
        "Male, not Young",
        "not Male, Young",
        "not Male, not Young",
    ]


def test_the_split_does_not_depend_on_the_label(paths):
    first, second = (small_archives.read("celeba", 8, paths, label=label, **SMALL) for label in ("Male", "identity"))
    for split in SMALL:
        assert first.splits[split].ids.tolist() == second.splits[split].ids.tolist()
    assert len({name for part in first.splits.values() for name in part.ids}) == 24
    assert "12 / 6 / 6 of 24, drawn at random once with seed 0" in first.split_rule


@pytest.mark.parametrize(
    ("label", "match"),
    [
        ("Smilling", "no attribute 'Smilling'; did you mean 'Smiling'"),
        ("Male+", "no attribute ''"),
        ("Male+Male", "names an attribute twice"),
        ("+".join(["Male"] * 40), r"label: 40 attributes, 2\^40 classes; name 10 at most"),
        ("identity+Male", "no attribute 'identity'"),
    ],
)
def test_labels_that_do_not_exist(paths, tmp_path, label, match):
    small_archives.refused("celeba", paths, tmp_path, match, label=label, **SMALL)


def test_one_class_alone_is_refused(paths, tmp_path):
    lines = paths[LIST].read_text().splitlines()
    column = ATTRIBUTES.index("Male") + 1
    for row in range(2, len(lines)):
        values = lines[row].split()
        values[column] = "-1"
        lines[row] = " ".join(values)
    paths[LIST].write_text("\n".join(lines))
    small_archives.refused("celeba", paths, tmp_path, "all chosen pictures are 'not Male'", label="Male", **SMALL)


def test_too_few_images(paths, tmp_path):
    small_archives.refused(
        "celeba", paths, tmp_path, "has 24 images, but the splits need 9,000 train . 500 val . 500 test"
    )


def test_prepared_file_keeps_attributes_and_identity(paths, tmp_path):
    small_archives.prepare("celeba", paths, tmp_path / "images.h5", **SMALL)
    info = read_image_info(tmp_path / "images.h5")
    assert info.counts == SMALL
    assert info.attributes == ATTRIBUTES
    with reading(tmp_path / "images.h5", hdf5.IMAGES) as file:
        assert file["train/attributes"].shape == (12, 40)
        assert file["val/identity"].shape == (6,)


def edit(path, change):
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


def replace(row, old, new):
    return lambda lines: lines.__setitem__(row, lines[row].replace(old, new))


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        (LIST, lambda lines: lines.pop(), "list_attr_celeba.txt: has 23 rows but says 24"),
        (LIST, lambda lines: lines.append(lines[-1].replace("24.jpg", "25.jpg")), "has 25 rows but says 24"),
        (LIST, lambda lines: (lines.pop(), replace(0, "24", "23")(lines)), "lacks '000024.jpg' .and 0 more., which"),
        (LIST, replace(5, ".jpg ", ".jpg 1 "), "line 6: has 41 values for 40 attributes"),
        (LIST, lambda lines: lines.__setitem__(3, lines[3].rsplit(None, 1)[0]), "line 4: has 39 values"),
        (LIST, lambda lines: lines.__setitem__(3, lines[3].rsplit(None, 1)[0] + " 0"), "line 4: has a value that is"),
        (LIST, replace(3, "000002", "000001"), "has two rows for '000001.jpg'"),
        (LIST, lambda lines: lines.pop(0), "must begin with the number of pictures"),
        (LIST, lambda lines: lines.clear(), "must begin with the number of pictures"),
        (LIST, replace(1, "Bald", "Young"), "an attribute is named twice"),
        (LIST, replace(3, "-1", "-1é"), "cannot be read as plain text"),
        (IDENTITY, lambda lines: lines.pop(3), "identity_CelebA.txt: lacks '000004.jpg'"),
        (IDENTITY, lambda lines: lines.append("000025.jpg 3"), "list_attr_celeba.txt: lacks '000025.jpg'"),
        (IDENTITY, lambda lines: lines.append("000024.jpg 3"), "has two rows for '000024.jpg'"),
        (IDENTITY, lambda lines: lines.append("000024.jpg"), "identity_CelebA.txt, line 25: must be a picture and"),
        (IDENTITY, lambda lines: lines.append("000024.jpg 3 4"), "line 25: must be a picture and"),
        (IDENTITY, lambda lines: lines.append("000024.jpg x"), "line 25: must be a picture and"),
    ],
)
def test_label_files_that_do_not_fit(paths, tmp_path, name, change, match):
    edit(paths[name], change)
    small_archives.refused("celeba", paths, tmp_path, match, **SMALL)


def changed(paths, **contents):
    members = small_archives.celeba_members(24)
    members |= {f"img_align_celeba/{name[1:]}.jpg": data for name, data in contents.items()}
    small_archives.write_zip(paths[IMAGES], {name: data for name, data in members.items() if data is not None})


@pytest.mark.parametrize(
    ("contents", "match"),
    [
        ({"n000007": None}, "img_align_celeba.zip: lacks '000007.jpg'"),
        ({"n000025": small_archives.celeba_members(1)["img_align_celeba/000001.jpg"]}, "lacks '000025.jpg'"),
        ({"n000007": b""}, r"000007.jpg: is empty \(0 bytes\); fetch the archive again"),
        (
            {"n000007": small_archives.celeba_members(1)["img_align_celeba/000001.jpg"][:900]},
            "000007.jpg: cannot be decoded",
        ),
        ({"n000007": b"GIF89a"}, "000007.jpg: is "),
        ({"n../../x": b"x"}, "unsafe name"),
    ],
)
def test_archives_that_do_not_fit(paths, tmp_path, contents, match):
    changed(paths, **contents)
    small_archives.refused("celeba", paths, tmp_path, match, **SMALL)


def test_one_picture_twice_is_refused(paths, tmp_path):
    with zipfile.ZipFile(paths[IMAGES], "a") as file:
        file.writestr("again/000003.jpg", file.read("img_align_celeba/000003.jpg"))
    small_archives.refused("celeba", paths, tmp_path, "000003.jpg' twice", **SMALL)


def test_a_truncated_zip_is_refused(paths, tmp_path):
    whole = paths[IMAGES].read_bytes()
    paths[IMAGES].write_bytes(whole[: len(whole) * 2 // 3])
    small_archives.refused("celeba", paths, tmp_path, "is not a whole zip file", **SMALL)


def test_pictures_are_read_only_when_their_batch_is(paths):
    """A damaged picture is noticed while batches are consumed, so nothing was decoded before."""
    changed(paths, **{f"n{number:06d}": b"" for number in range(1, 25)})
    ours = small_archives.read("celeba", 8, paths, **SMALL)
    with pytest.raises(UserError, match="is empty"):
        next(iter(ours.splits["train"].batches))
