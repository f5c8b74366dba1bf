import errno
import os
from pathlib import Path

import numpy as np
import pytest

from visrec.data import files
from visrec.data.files import atomic, expanded, read_sealed, there_is, write_json, write_sealed, write_text
from visrec.errors import UserError


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


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


def test_sealed_json_comes_back_and_damage_is_one_line(tmp_path):
    path, data = tmp_path / "x.json", {"a": [1, 2.5], "ü": {"b": None}}
    assert read_sealed(path) == {}
    write_sealed(path, data)
    assert read_sealed(path) == data
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for number in range(60):
        changed = bytearray(content)
        changed[rng.integers(len(content) - 1)] ^= 1 << rng.integers(7)
        path.write_bytes(changed if number % 3 else content[: rng.integers(len(content) - 2)])
        try:
            found = read_sealed(path)
        except UserError as error:
            assert "\n" not in str(error) and str(error).endswith("; delete it and run again")
        else:  # the name of the checksum itself, or a blank
            assert found in ({}, data)
    write_json(path, data)  # of an earlier version
    assert read_sealed(path) == {}


def test_a_home_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert (expanded("~/photos"), expanded("a~b/~c")) == (Path("/home/ada/photos"), Path("a~b/~c"))
    with pytest.raises(UserError, match=r"^~nobody-is-called-so/a: there is no such home folder"):
        expanded("~nobody-is-called-so/a")


def test_what_may_not_be_looked_at_is_one_line(tmp_path):
    """Where tests run as root there is nothing that may not be."""
    assert there_is(tmp_path)
    assert not there_is(tmp_path / "none")
    with pytest.raises(UserError, match=r"xxx: cannot be looked at \(File name too long\); correct it"):
        there_is(tmp_path / ("x" * 5000))
