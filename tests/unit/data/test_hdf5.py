"""Damage, and files that are not plain data of their own."""

import fuzz
import h5py
import numpy as np
import pytest
from images_fixture import write
from odd_hdf5 import ODD

from visrec.data import hdf5
from visrec.data.embeddings import read_embeddings, write_embeddings
from visrec.data.hdf5 import EMBEDDINGS, IMAGES, QUERY_SCORES, SPLITS, reading, seal
from visrec.data.images import read_image_info, read_images
from visrec.data.query_scores import read_query_scores, write_query_scores
from visrec.data.structure import NotPlainError, plain
from visrec.errors import UserError
from visrec.recommender.feature_cache import SHARD, FeatureCache


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A whole file of each kind, and how it is read."""
    folder = tmp_path_factory.mktemp("kinds")
    write(folder / "images.h5")
    batches = {split: [{"all": np.ones((count, 5))}] for split, count in (("train", 7), ("val", 2), ("test", 3))}
    write_embeddings(folder / "embeddings.h5", folder / "images.h5", batches, spec={"encoder": "x"})
    ids, labels = np.array(["b", "a"]), np.array([1, 0])
    write_query_scores(folder / "knn.h5", {"test": (ids, labels)}, {"test": [{"k": 1}]}, {"test": np.ones((1, 2))})
    FeatureCache(folder, "me").write("00", ["0" * 64, "00" + "1" * 62], np.ones((2, 5), np.float32))
    return {
        IMAGES: (folder / "images.h5", lambda path: (read_image_info(path), read_images(path, "train"))),
        EMBEDDINGS: (folder / "embeddings.h5", read_embeddings),
        QUERY_SCORES: (folder / "knn.h5", lambda path: read_query_scores(path, "test")),
        SHARD: (folder / "00.h5", lambda path: FeatureCache(path.parent, "me").features(path.stem)),
    }


def damaged(content, rng, tries):
    """A file with one bit flipped, five, or its end cut off, again and again; never in the unused rest of its head."""
    used = [*range(len(hdf5.SEAL) + 64), *range(hdf5.USERBLOCK, len(content))]
    for number in range(tries):
        changed = bytearray(content)
        for place in rng.choice(used, (0, 1, 5)[number % 3], replace=False):
            changed[place] ^= 1 << rng.integers(8)
        yield bytes(changed if number % 3 else changed[: rng.integers(len(changed))])


@fuzz.tries(40, 300)
@pytest.mark.parametrize("kind", [IMAGES, EMBEDDINGS, QUERY_SCORES, SHARD])
def test_any_damage_is_one_line_that_says_what_to_delete(kinds, kind, tmp_path, tries):
    path, read = kinds[kind]
    read(path)
    target = tmp_path / path.name
    for content in damaged(path.read_bytes(), np.random.default_rng(0), tries):
        target.write_bytes(content)
        with pytest.raises(UserError) as caught, fuzz.cheap():
            read(target)
        assert str(caught.value).startswith(f"{target}: ") and "\n" not in str(caught.value)
        assert str(caught.value).endswith("; delete it and run again")


@fuzz.tries(40, 200)
@pytest.mark.parametrize("kind", [IMAGES, EMBEDDINGS, QUERY_SCORES, SHARD])
def test_damage_that_the_checksum_covers_is_found_too(kinds, kind, tmp_path, tries):
    """As if a broken writer had sealed it: structure is checked by itself."""
    path, read = kinds[kind]
    rng, content, refused = np.random.default_rng(1), path.read_bytes(), 0
    target = tmp_path / path.name
    for _ in range(tries):
        changed = bytearray(content)
        for place in rng.integers(hdf5.USERBLOCK, hdf5.USERBLOCK + 2048, 5):
            changed[place] ^= 1 << rng.integers(8)
        target.write_bytes(changed)
        seal(target)
        with fuzz.cheap():
            try:
                read(target)
            except UserError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > tries // 2


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind, name", [(IMAGES, "train/images"), (EMBEDDINGS, "test/features"), (SHARD, "/features")])
def test_only_plain_data_of_the_file_is_read(kinds, kind, name, odd, tmp_path):
    path, read = kinds[kind]
    target = tmp_path / path.name
    target.write_bytes(path.read_bytes())
    group, _, name = name.rpartition("/")
    with h5py.File(target, "r+") as file:
        odd(file[group or "/"], name, tmp_path)
    with pytest.raises(UserError, match="its checksum does not fit"):
        read(target)
    seal(target)
    with pytest.raises(UserError, match=rf"is damaged \(.*`{name}`.*\); delete it and run again") as caught:
        read(target)
    assert "\n" not in str(caught.value)


def test_labels_out_of_range_are_refused(kinds, tmp_path):
    path, read = kinds[EMBEDDINGS]
    target = tmp_path / path.name
    target.write_bytes(path.read_bytes())
    with h5py.File(target, "r+") as file:
        file["val/labels"][0] = 3
    seal(target)
    with pytest.raises(UserError, match="a label is not from -1 to 2"):
        read(target)


def test_a_file_without_a_checksum_is_refused(kinds, tmp_path):
    path, read = kinds[EMBEDDINGS]
    with h5py.File(path) as old, h5py.File(tmp_path / "old.h5", "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    with pytest.raises(UserError, match="is not a 'visrec embeddings 2' file of this version, with a checksum"):
        read(tmp_path / "old.h5")


def test_a_shard_of_an_earlier_version_is_made_again(kinds, tmp_path):
    path, read = kinds[SHARD]
    target = tmp_path / path.name
    target.write_bytes(path.read_bytes()[hdf5.USERBLOCK :])
    assert h5py.is_hdf5(target) and read(target) == {}


def test_a_change_after_the_check_is_seen(kinds, tmp_path):
    """A file is checked once per process, but for one that was written a moment ago, or since."""
    path, read = kinds[QUERY_SCORES]
    target = tmp_path / path.name
    content = bytearray(path.read_bytes())
    target.write_bytes(content)
    read(target)
    content[-1] ^= 1
    target.write_bytes(content)
    with pytest.raises(UserError, match="its checksum does not fit"):
        read(target)


def test_a_dataset_that_claims_more_than_the_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (2**20, 2**20), "f4", chunks=(2**20, 2**20 // 2**12), compression="gzip")
        with pytest.raises(NotPlainError, match="never written"):
            plain(file, "a")
        file.create_dataset("b", data=np.zeros((1000, 1000)), compression="gzip")
        assert plain(file, "b").shape == (1000, 1000)
        file.create_dataset("c", (0, 4), "f4")
        assert len(plain(file, "c")) == 0
        assert set(SPLITS) == {"train", "val", "test"}


def test_reading_costs_one_pass_per_process(kinds, monkeypatch):
    path, read = kinds[IMAGES]
    monkeypatch.setattr(hdf5, "SETTLED", -1.0)
    passes = []
    digest = hdf5._digest
    monkeypatch.setattr(hdf5, "_digest", lambda path: passes.append(path) or digest(path))
    with reading(path, IMAGES):
        pass
    read(path)
    assert len(passes) == 1


def test_errors_of_a_reader_are_its_own(kinds):
    path, _ = kinds[IMAGES]
    with pytest.raises(ValueError, match=r"^mine$"), reading(path, IMAGES):
        raise ValueError("mine")
