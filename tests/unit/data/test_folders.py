"""Pictures in folders, and names for people."""

import logging
import os

import pytest

from visrec.data import folders


def test_what_is_in_a_folder(tmp_path, caplog):
    root = tmp_path / "photos"
    for name in (
        "b/2.PNG",
        "b/deep/1.jpg",
        "c/4.HEIC",
        "a.jpg",
        "notes.txt",
        "README",
        ".hidden.jpg",
        "__MACOSX/a.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "again.jpg").symlink_to("a.jpg")
    (root / "nowhere.txt").symlink_to("nothing")
    (root / "b/loop").symlink_to(root)
    os.mkfifo(root / "pipe.jpg")
    os.mkfifo(root / "pipe")
    with caplog.at_level(logging.INFO, "visrec"):
        found = folders.scan(root)
    assert found.pictures == ["a.jpg", "again.jpg", "b/2.PNG", "b/deep/1.jpg"]
    assert found.folders == ["b", "b/deep", "c"]
    assert found.links == ["again.jpg", "b/loop"]
    assert found.special == ["pipe.jpg"]
    assert found.skipped == [
        ("b/loop", "is a link to a folder, which is not followed"),
        ("c/4.HEIC", "is HEIC, which is not read; save it as JPEG"),
    ]
    assert found.unknown == []
    assert "left out 4 files without the suffix of a picture (.txt 2, no suffix 2)" in caplog.text


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jpg").touch()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = folders.scan(tmp_path)
    assert found.pictures == ["a.jpg"]
    reason = "the folder cannot be read (%s); check the path and who may read it"
    assert found.skipped == [("b", reason % "Permission denied")]
    assert folders.scan(tmp_path / "none").skipped == [(".", reason % "No such file or directory")]


@pytest.mark.parametrize(("name", "kind"), [("file", "file"), ("folder", "folder"), ("pipe", "special")])
def test_kinds(tmp_path, name, kind):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert folders.kind_of(tmp_path / name) == (kind, "")


def test_folders_of_programs():
    made = ".thumbnails Thumbs __MACOSX @eaDir @eaDir@tmp @__thumb #recycle $RECYCLE.BIN lost+found FOUND.012 .dtrash"
    made += " CaptureOne Previews.lrdata Photos.photolibrary x.cosessiondb _vti_cnf @SynoResource"
    assert [name for name in made.split() if not folders.of_a_program(name)] == []
    people = "cats #cats @home $ found trash thumb cache recycle snapshots ~ 1e5 null"
    assert [name for name in people.split() if folders.of_a_program(name)] == []


def test_a_name_of_a_program_or_a_class_depends_on_what_lies_beside_it(tmp_path):
    for path in ("a/1.png", "a/thumb/1.png", "a/Previews/1.png", "trash/1.png", "thumb/1.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert folders.scan(tmp_path).pictures == ["a/1.png", "thumb/1.png", "trash/1.png"]
