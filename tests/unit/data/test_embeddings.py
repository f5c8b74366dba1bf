import h5py
import numpy as np
import pytest
from images_fixture import write

from visrec.data.embeddings import Range, read_embeddings, write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import read_images
from visrec.errors import UserError


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


@pytest.mark.parametrize(
    ("values", "dtype", "messages"),
    [
        ([1e-9, 2e-9, 3e-9, 5e-9, 7e-9], "float16", ["of all 12 images are the same", "too small for float16"]),
        ([1e-7, 2e-5, 3e-5, 4e-5, 5e-5], "float16", ["images are zero", "too small for float16"]),
        ([1e-9, 2e-9, 3e-9, 5e-9, 7e-9], "float32", ["all features of 5 of 12 images are zero"]),
        ([0.0] * 7, "float32", ["of all 12 images are the same: scores say nothing"]),
        ([-0.0] * 7, "float32", ["of all 12 images are the same: scores say nothing"]),
        ([1e-42, 2e-42, 3e-42, 5e-42, 7e-42], "float32", ["images are zero", "too small for float32, which rounds"]),
    ],
)
def test_features_that_say_nothing_are_pointed_out(tmp_path, caplog, values, dtype, messages):
    embed_values(tmp_path, values, dtype)
    assert len(caplog.records) == len(messages)
    assert all(message in record.getMessage() for message, record in zip(messages, caplog.records, strict=True))


def test_features_that_differ_by_rounding_alone_are_the_same():
    seen = Range()
    rows = 3 + np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32) * 1e-7
    seen.add(rows, rows)
    (said,) = seen.warnings("float32")
    assert said == "the features of all 10 images are the same: scores say nothing about the encoder"
    seen.add(rows + 1e-4, rows + 1e-4)
    assert seen.warnings("float32") == []
    assert Range().warnings("float16") == []


def test_features_that_float16_rounds_alike_are_pointed_out():
    """Around 1,000 the steps of float16 are 0.5: ten features 0.01 apart become one, features 1 apart stay."""
    for apart, dtype, words in [
        (0.01, "float16", ["are the same", "differ by few of the steps that float16 has"]),
        (0.5, "float16", ["differ by few of the steps that float16 has between them; say `embeddings: {dtype: fl"]),
        (2, "float16", []),
        (0.01, "float32", []),
    ]:
        seen = Range()
        rows = (1000 + apart * np.arange(10, dtype=np.float32))[:, None] + np.zeros(3, np.float32)
        for part in (rows[:4], rows[4:]):
            seen.add(part, part.astype(dtype))
        assert [word in said for word, said in zip(words, seen.warnings(dtype), strict=True)] == [True] * len(words)
