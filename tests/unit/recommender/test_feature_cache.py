"""Features of pictures by the hash of their files, kept between runs."""

import hashlib
import json
import os
import time

import numpy as np
import pytest

from visrec.errors import UserError
from visrec.recommender import feature_cache
from visrec.recommender.feature_cache import FeatureCache

HASHES = [digits + 62 * "0" for digits in ("00", "0f", "ff")]


@pytest.fixture
def cache(tmp_path):
    cache = FeatureCache(tmp_path / "kept", "a network")
    cache.prepare()
    return cache


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos/shoes").mkdir(parents=True)
    for name in ("1.png", "shoes/2.png"):
        (tmp_path / "photos" / name).write_text(name)
    return tmp_path / "photos"


def test_features_come_back_by_hash(cache):
    hashes = ["0f" + 61 * "0" + digit for digit in "ab"]
    cache.write("0f", hashes, np.array([[1, 2], [3, 4]], np.float32))
    assert cache.hashes("0f") == hashes
    assert {key: value.tolist() for key, value in cache.features("0f").items()} == dict(
        zip(hashes, [[1, 2], [3, 4]], strict=True)
    )
    assert (cache.hashes("10"), cache.features("10")) == ([], {})


def test_shards_are_those_there_are_and_those_that_are_needed(cache):
    cache.write("0f", HASHES[1:2], np.zeros((1, 2), np.float32))
    assert cache.shards([HASHES[0], HASHES[2]]) == ["00", "0f", "ff"]
    cache.write("0f", [], np.zeros((0, 2), np.float32))  # without hashes it is removed
    assert cache.shards([]) == []


def test_a_shard_of_another_identity_counts_as_empty(cache):
    cache.write("0f", HASHES[1:2], np.zeros((1, 2), np.float32))
    other = FeatureCache(cache.folder, "another network")
    assert (other.hashes("0f"), other.features("0f")) == ([], {})
    assert other.shards([]) == ["0f"]


def test_hashes_of_files(cache, photos):
    hashes, unreadable = cache.file_hashes(photos, ["shoes/2.png", "1.png", "none.png"], 2)
    assert [*hashes.items()] == [(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("1.png", "shoes/2.png")]
    assert unreadable == [("none.png", "cannot be opened: No such file or directory")]


def test_files_are_not_read_again_to_know_that_they_are_the_same(cache, photos, monkeypatch):
    monkeypatch.setattr(feature_cache, "SETTLED", -10)  # as if all were older than two seconds
    first = cache.file_hashes(photos, ["1.png", "shoes/2.png"], 1)
    monkeypatch.setattr(feature_cache, "_hash", lambda path: pytest.fail(f"{path} is read"))
    assert cache.file_hashes(photos, ["1.png", "shoes/2.png"], 1) == first


def test_a_file_that_was_just_written_is_read_again(cache, photos):
    cache.file_hashes(photos, ["1.png"], 1)  # its ctime is now: a second write in the same moment would not show
    assert json.loads((cache.folder / "files.json").read_text()).keys() == {"sha256"}


def test_a_damaged_list_of_files_is_named(cache, photos):
    (cache.folder / "files.json").write_text("{")
    with pytest.raises(UserError, match=r"files\.json: is not JSON .*; delete it and run again"):
        cache.file_hashes(photos, [], 1)


def test_what_a_killed_process_left_is_removed_when_it_is_old(cache):
    for name, age in ((".00.h5.x.tmp.h5", 2 * 86_400), (".01.h5.x.tmp.h5", 60)):
        (cache.folder / name).touch()
        os.utime(cache.folder / name, 2 * (time.time() - age,))
    cache.prepare()
    assert [path.name for path in cache.folder.glob(".*")] == [".01.h5.x.tmp.h5"]


def test_what_another_process_takes_away_meanwhile_is_not_missed(cache, monkeypatch):
    gone = cache.folder / ".00.h5.x.tmp.h5"
    monkeypatch.setattr(type(gone), "glob", lambda self, pattern: [gone])
    cache.prepare()
