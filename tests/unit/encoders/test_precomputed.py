import h5py
import numpy as np
import pytest
import torch
from odd_hdf5 import ODD

from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageSet, ImageSource, write_images
from visrec.encoders.precomputed import extractor
from visrec.errors import UserError

CPU = torch.device("cpu")
IDS = {"train": ["a/3.jpg", "a/1.jpg", "b/ü.jpg"], "val": ["v1"], "test": ["t1", "t0"]}
ALL = [image for ids in IDS.values() for image in ids]


@pytest.fixture
def source(tmp_path):
    sources = {
        split: ImageSource([np.zeros((len(ids), 3, 8, 8), np.uint8)], np.zeros(len(ids)), np.array(ids))
        for split, ids in IDS.items()
    }
    write_images(tmp_path / "images.h5", ImageSet(sources, ["a"], "", ""), 8)
    return ImageFile(tmp_path / "images.h5")


@pytest.fixture
def made(tmp_path, source):
    """Write a file of features from arrays by name, and open it."""

    def make(**datasets):
        path = tmp_path / "features.h5"
        with h5py.File(path, "w") as file:
            for name, values in datasets.items():
                file[name] = values
        return extractor(None, source, {"path": str(path)}, 0, CPU)

    return make


def features(rows=6, dtype=np.float32):
    return np.arange(rows * 2).reshape(rows, 2).astype(dtype)


def embed(extract, split):
    return extract(np.zeros((len(IDS[split]), 3, 8, 8), np.uint8), np.array(IDS[split]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("fixed", [False, True], ids=["variable", "fixed"])
def test_rows_are_found_by_id_in_any_order(made, dtype, fixed):
    order = [4, 0, 5, 2, 1, 3]
    shuffled = [ALL[i] for i in order]
    ids = np.array([image.encode() for image in shuffled]) if fixed else shuffled
    if fixed:  # bytes of a fixed length are ASCII to h5py unless they say otherwise
        kind = h5py.string_dtype("utf-8", ids.dtype.itemsize)
        ids = ids.astype(kind)
    extract = made(features=features(dtype=dtype)[order], ids=ids)
    found = np.concatenate([embed(extract, split)["features"] for split in SPLITS])
    assert found.dtype == np.float32
    assert found.tolist() == features().tolist()


def test_float64_is_rounded_to_float32(made):
    values = features(dtype=np.float64) + 1 / 3
    found = embed(made(features=values, ids=ALL), "train")["features"]
    assert np.array_equal(found, values[:3].astype(np.float32))


def test_blocks_do_not_matter(made, monkeypatch):
    monkeypatch.setattr("visrec.encoders.precomputed.ROWS_AT_ONCE", 4)
    assert embed(made(features=features(), ids=ALL), "test")["features"].tolist() == features()[4:].tolist()


def refused(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("precomputed: ")


def test_a_path_that_leads_nowhere(source, tmp_path):
    refused(lambda: extractor(None, source, {"path": ""}, 0, CPU), "no file of features is named; set `path`")
    nowhere = str(tmp_path / "nowhere.h5")
    refused(lambda: extractor(None, source, {"path": nowhere}, 0, CPU), "nowhere.h5: there is no such file")
    refused(lambda: extractor(None, source, {"path": str(tmp_path)}, 0, CPU), "there is no such file")
    (tmp_path / "text.h5").write_text("no HDF5")
    refused(lambda: extractor(None, source, {"path": str(tmp_path / "text.h5")}, 0, CPU), "cannot be read as HDF5")


@pytest.mark.parametrize(
    "datasets, message",
    [
        ({"ids": ALL}, "`features` is missing; write both as ordinary datasets"),
        ({"features/inner": features(), "ids": ALL}, "`features` is no array"),
        ({"features": features(dtype=np.int64), "ids": ALL}, "`features` are not float16, float32 or float64"),
        ({"features": features()}, "`ids` is missing"),
        ({"features": features(), "ids": np.arange(6)}, "`ids` are not strings"),
        ({"features": features(), "ids": [[image] for image in ALL]}, "`ids` are not strings"),
        ({"features": features(5), "ids": ALL}, r"`features` are \(5, 2\), but 6 ids need \(6, D\)"),
        ({"features": features()[:, 0], "ids": ALL}, r"`features` are \(6,\), but 6 ids need"),
        ({"features": features()[:, :0], "ids": ALL}, r"`features` are \(6, 0\), but 6 ids need"),
        (
            {"features": features(8), "ids": [*ALL, "t1", "a/1.jpg"]},
            "2 ids are repeated, first 'a/1.jpg'; give each image one row",
        ),
        ({"features": features(4), "ids": [*ALL[:2], *ALL[4:]]}, "lacks 2 of 6 images, first 'b/ü.jpg'; "),
        ({"features": features(8), "ids": [*ALL, "x", "y"]}, "2 ids are of no image, first 'x'; "),
        ({"features": features(0), "ids": np.array([], h5py.string_dtype())}, "lacks 6 of 6 images"),
        ({"features": features(), "ids": np.array([b"\xff"] * 6)}, "an id is not UTF-8 text"),
    ],
)
def test_what_does_not_fit_is_one_line(made, datasets, message):
    refused(lambda: made(**datasets), message)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_features_that_are_not_finite_are_named(made, value):
    values = features(dtype=np.float64)
    values[4, 1] = value
    refused(lambda: made(features=values, ids=ALL), "a feature of 't1' is not finite in float32")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["features", "ids"])
def test_only_plain_data_of_the_file_is_read(source, tmp_path, name, odd):
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file["features"] = features()
        file["ids"] = np.array(ALL, object) if odd.__name__ != "odd_filter" else np.arange(6)
        odd(file, name, tmp_path)
    refused(lambda: extractor(None, source, {"path": str(path)}, 0, CPU), "features.h5: `(features|ids)` ")


def test_any_damage_of_a_file_of_features_is_one_line(source, tmp_path):
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file["ids"] = np.array(ALL, object)
        file.create_dataset("features", data=features(), compression="gzip")
    rng, content = np.random.default_rng(0), path.read_bytes()
    for number in range(40):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 5):
            changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed if number % 4 else content[: rng.integers(len(content))])
        try:
            extractor(None, source, {"path": str(path)}, 0, CPU)
        except UserError as error:
            assert "\n" not in str(error)
