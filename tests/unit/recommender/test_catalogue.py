"""A folder that grows and shrinks: each picture is embedded once, whatever happens to its file."""

import hashlib
import multiprocessing
import os

import h5py
import numpy as np
import pytest
from PIL import Image

from visrec.data import pictures
from visrec.data.embeddings import write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource, write_images
from visrec.errors import UserError
from visrec.recommender import catalogue, feature_cache
from visrec.recommender.embedder import Embedder
from visrec.recommender.feature_cache import FeatureCache

SIZE, WIDTH = 8, 3


class Counting:
    """Embeds a picture as the means of its channels, and counts."""

    def __init__(self, fail_after=None):
        self.calls, self.fail_after = 0, fail_after

    def __call__(self, images):
        if self.fail_after is not None and self.calls >= self.fail_after:
            raise KeyboardInterrupt
        self.calls += len(images)
        return images.mean(axis=(2, 3)).astype(np.float32)


def save(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12), (shade, 255 - shade, 7)).save(path)
    os.utime(path, (1e9, 1e9))


@pytest.fixture
def photos(tmp_path):
    for i in range(20):
        save(tmp_path / f"photos/{'boots' if i < 10 else 'shoes'}/{i:02}.png", 10 * i)
    return tmp_path / "photos"


def update(photos, embed=None, identity="a", label=catalogue.parents, threads=2):
    cache = FeatureCache(photos.parent / "kept", identity)
    return catalogue.update(photos, cache, Embedder(SIZE, WIDTH, embed or Counting(), threads), label)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_picture_has_its_features_its_paths_and_its_label(photos):
    embed = Counting()
    found = update(photos, embed)
    assert embed.calls == 20
    assert found.ids.tolist() == sorted(digest(path) for path in photos.rglob("*.png"))
    for identity, features, label, paths in zip(found.ids, found.features, found.labels, found.paths, strict=True):
        (path,) = paths
        assert digest(photos / path) == identity
        assert features.tolist() == [10 * int(path[-6:-4]), 255 - 10 * int(path[-6:-4]), 7]
        assert label == path.split("/")[0]


def test_a_second_time_embeds_nothing(photos):
    first, embed = update(photos), Counting()
    again = update(photos, embed)
    assert embed.calls == 0
    assert again.identity == first.identity
    assert again.features.tobytes() == first.features.tobytes()


def test_an_added_picture_is_embedded_alone_and_changes_one_shard(photos):
    update(photos)
    shards = {path: path.stat().st_ino for path in (photos.parent / "kept").glob("??.h5")}
    save(photos / "boots/new.png", 201)
    embed = Counting()
    found = update(photos, embed)
    assert (embed.calls, len(found.ids)) == (1, 21)
    own = photos.parent / "kept" / f"{digest(photos / 'boots/new.png')[:2]}.h5"
    changed = {path for path in (photos.parent / "kept").glob("??.h5") if shards.get(path) != path.stat().st_ino}
    assert changed == {own}
    assert found.features[found.ids.tolist().index(digest(photos / "boots/new.png"))].tolist() == [201, 54, 7]


def test_a_removed_picture_disappears(photos):
    before = update(photos)
    gone = digest(photos / "boots/03.png")
    (photos / "boots/03.png").unlink()
    embed = Counting()
    found = update(photos, embed)
    assert embed.calls == 0
    assert set(before.ids) - set(found.ids) == {gone}
    assert found.identity != before.identity
    held = [each for path in (photos.parent / "kept").glob("??.h5") for each in h5py.File(path)["hashes"].asstr()[:]]
    assert sorted(held) == found.ids.tolist()


def test_a_renamed_picture_and_a_moved_one_are_not_embedded_again(photos):
    update(photos)
    (photos / "boots/03.png").rename(photos / "boots/renamed.png")
    (photos / "boots/04.png").rename(photos / "shoes/moved.png")
    embed = Counting()
    found = update(photos, embed)
    assert embed.calls == 0
    assert ("boots/renamed.png",) in found.paths
    assert found.labels[found.paths.index(("shoes/moved.png",))] == "shoes"


def test_the_same_picture_under_two_paths_is_one(photos):
    (photos / "shoes/twin.png").write_bytes((photos / "boots/03.png").read_bytes())
    embed = Counting()
    found = update(photos, embed)
    assert (embed.calls, len(found.ids), found.features.shape) == (20, 20, (20, WIDTH))
    assert ("boots/03.png", "shoes/twin.png") in found.paths


def test_another_identity_embeds_all_again(photos):
    update(photos)
    embed = Counting()
    update(photos, embed, identity="another network")
    assert embed.calls == 20


def test_shards_of_another_identity_go_also_where_no_picture_is_left(photos):
    update(photos)
    for path in [*photos.rglob("*.png")][1:]:
        path.unlink()
    found = update(photos, identity="another network")
    assert [path.stem for path in (photos.parent / "kept").glob("??.h5")] == [found.ids[0][:2]]


def test_a_changed_file_is_another_picture(photos, monkeypatch):
    monkeypatch.setattr(feature_cache, "SETTLED", -10)  # as if all were older than two seconds
    save(photos / "boots/flat.bmp", 33)
    update(photos)
    size = (photos / "boots/flat.bmp").stat().st_size
    save(photos / "boots/flat.bmp", 222)  # with the same date
    assert (photos / "boots/flat.bmp").stat().st_size == size
    embed = Counting()
    found = update(photos, embed)
    assert embed.calls == 1
    assert digest(photos / "boots/flat.bmp") in found.ids


def test_what_was_finished_before_a_kill_stays(photos, monkeypatch):
    monkeypatch.setattr("visrec.data.pictures.BATCH", 5)
    with pytest.raises(KeyboardInterrupt):
        update(photos, Counting(fail_after=10))
    assert not list((photos.parent / "kept").glob(".*"))
    held = len(list((photos.parent / "kept").glob("??.h5")))
    embed = Counting()
    assert len(update(photos, embed).ids) == 20
    assert 0 < held <= 20
    assert 10 <= embed.calls <= 15  # of ten that were embedded, the last shard's were lost


def _process(photos, out):
    found = update(photos, threads=1)
    np.savez(out, ids=found.ids, features=found.features)


def test_two_processes_at_once_find_the_same_and_leave_whole_shards(photos):
    context = multiprocessing.get_context("spawn")
    outs = [photos.parent / f"{i}.npz" for i in range(2)]
    processes = [context.Process(target=_process, args=(photos, out)) for out in outs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    embed = Counting()
    found = update(photos, embed)
    assert embed.calls == 0
    for out in outs:
        assert np.load(out)["ids"].tolist() == found.ids.tolist()
        assert np.array_equal(np.load(out)["features"], found.features)


def test_a_shard_that_another_process_emptied_meanwhile_is_an_error(photos):
    update(photos)
    save(photos / "boots/new.png", 201)

    def embed(images):
        for path in (photos.parent / "kept").glob("??.h5"):
            path.unlink()
        return Counting()(images)

    with pytest.raises(UserError, match=r"another process has written it meanwhile; run again"):
        update(photos, embed)
    assert len(update(photos).ids) == 21


def test_broken_pictures_are_named_and_left_out(photos):
    whole = (photos / "boots/00.png").read_bytes()
    (photos / "boots/cut.png").write_bytes(whole[:50])
    (photos / "boots/empty.jpg").touch()
    (photos / "boots/page.jpg").write_text("<html>")
    found = update(photos)
    assert len(found.ids) == 20
    reasons = dict(found.skipped)
    assert set(reasons) == {"boots/cut.png", "boots/empty.jpg", "boots/page.jpg"}
    assert reasons["boots/page.jpg"] == "is an HTML page, not a picture"
    assert len(update(photos).skipped) == 3


def test_a_folder_without_any_readable_picture(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="no picture in it can be read; known suffixes: "):
        update(tmp_path / "photos")
    (tmp_path / "photos/a\nb.jpg").touch()
    with pytest.raises(UserError, match=r"no picture in it can be read; the first, a\\nb.jpg: is empty \(0 bytes\)"):
        update(tmp_path / "photos")


def test_a_damaged_shard_is_named(photos):
    update(photos)
    shard = next((photos.parent / "kept").glob("??.h5"))
    shard.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=f"{shard}: cannot be read as HDF5"):
        update(photos)


def test_what_is_no_picture_is_named_and_nothing_is_followed_in_circles(tmp_path):
    root = tmp_path / "photos"
    for name in ("=cmd|calc.png", "a\nb.png", "<script>.png", "sub/deep/c.PNG", ".hidden.png", "__MACOSX/d.png"):
        save(root / name if name != "sub/deep/c.PNG" else root / "sub/deep/c.PNG", 5)
    (root / "notes.txt").touch()
    (root / "sub/loop").symlink_to(root)
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "nowhere.jpg").symlink_to("nothing")
    (root / "link.png").symlink_to("a\nb.png")
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    with (root / "large.jpg").open("wb") as file:
        file.truncate(pictures.MAX_BYTES + 1)
    with open(os.fsencode(root) + b"/\xff.jpg", "wb"):  # noqa: PTH123 - a name that is not UTF-8
        pass
    found, skipped = catalogue.pictures_in(root)
    assert found == ["<script>.png", "=cmd|calc.png", "a\nb.png", "link.png", "sub/deep/c.PNG"]
    assert dict(skipped) == {
        "sub/loop": "is a link to a folder, which is not followed",
        "self.jpg": "cannot be opened: Too many levels of symbolic links",
        "nowhere.jpg": "cannot be opened: No such file or directory",
        "pipe.jpg": "is neither a file nor a folder",
        "large.jpg": "has 512 MB; a picture has at most 512",
        "\udcff.jpg": "its name is not UTF-8; rename it",
    }
    assert catalogue.pictures_in(root / "a\nb.png") == (["a\nb.png"], [])
    with pytest.raises(UserError, match="there is no such file or folder"):
        catalogue.pictures_in(root / "missing")


@pytest.mark.parametrize(
    "paths, labels",
    [
        (["boots/1.jpg", "shoes/red/2.jpg"], ["boots", "shoes"]),
        (["train/boots/1.jpg", "test/shoes/red/2.jpg"], ["boots", "shoes"]),
        (["train/1.jpg", "boots/2.jpg"], ["train", "boots"]),
        (["train/1.jpg", "val/2.jpg"], ["", ""]),
        (["1.jpg", "boots/2.jpg"], ["", "boots"]),
    ],
)
def test_classes_as_the_dataset_has_them(paths, labels):
    assert [*catalogue.classes(paths).values()] == labels


def test_classes_from_a_table(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label,id\n1.jpg,boots,x\n./2.jpg,,y\n")
    found = catalogue.classes(["1.jpg", "2.jpg", "new.jpg"], tmp_path / "labels.csv")
    assert found == {"1.jpg": "boots", "2.jpg": "", "new.jpg": ""}
    with pytest.raises(UserError, match=r"no\.csv: cannot be read as a CSV"):
        catalogue.classes(["1.jpg"], tmp_path / "no.csv")
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,boots\n2.jpg\n")
    with pytest.raises(UserError, match=r"labels\.csv line 3: 1 fields where the first line has 2; correct the row"):
        catalogue.classes(["1.jpg"], tmp_path / "labels.csv")


def test_the_training_images(tmp_path):
    labels = np.array([1, -1, 0])
    parts = {
        split: ImageSource([np.zeros((3, 3, 8, 8), np.uint8)], labels, np.array([f"{split}{i}" for i in range(3)]))
        for split in SPLITS
    }
    write_images(tmp_path / "images.h5", ImageSet(parts, ["a", "b"], "by hand", "nowhere"), 8)
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    batches = {split: [{"all": features}] for split in SPLITS}
    write_embeddings(tmp_path / "embeddings.h5", tmp_path / "images.h5", batches, spec={}, dtype="float16")
    found = catalogue.trained_on(tmp_path / "embeddings.h5")
    assert found.ids.tolist() == ["train0", "train1", "train2"]
    assert found.labels == ["b", "", "a"]
    assert found.paths == [(), (), ()]
    assert (found.features.dtype, found.features.tolist()) == (np.float32, features.tolist())
    assert found.rounding == 1 / 2048
    write_embeddings(tmp_path / "embeddings.h5", tmp_path / "images.h5", batches, spec={})
    assert catalogue.trained_on(tmp_path / "embeddings.h5").rounding == 0
