import io
import json
import tarfile
from functools import cache

import h5py
import numpy as np
import pytest
import small_archives
from PIL import Image
from small_archives import emoji_table

from visrec.data import duplicates
from visrec.data.images import read_image_info
from visrec.datasets import emoji
from visrec.experiment import registry

GOOGLE, TWITTER = emoji.ARCHIVES
SMALL = {"val": 6}
members_of = cache(small_archives.emoji_members)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return small_archives.emoji(tmp_path_factory.mktemp("emoji"))


def read(paths, size=8, **options):
    return small_archives.read("emoji", size, paths, **(SMALL | options))


def on_white(data, size):
    """A PNG by another way: the mean of colour and white, weighted by alpha, then Pillow's bilinear filter."""
    rgba = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    flat = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [64, 20])
def test_pictures_are_each_artists_own_on_white(paths, size):
    ours = read(paths, size)
    for split, kind, hand in (
        ("train", "google", "noto"),
        ("val", "twitter", "twemoji"),
        ("test", "twitter", "twemoji"),
    ):
        for name, picture in small_archives.images(ours.splits[split]).items():
            artist, _, stem = name.partition("/")
            assert artist == hand
            expected = on_white(members_of(kind)[f"package/img/{kind}/64/{stem}.png"], size)
            assert np.abs(picture.astype(int) - expected).max() <= 1
            assert (picture[:, 1, -2] == 255).all()  # transparent there


def test_every_thing_asks_once_and_is_in_the_gallery_once(paths):
    drawn = [entry for entry in emoji_table() if entry["has_img_twitter"]]
    for gallery in ("noto", "twemoji", "mixed"):
        ours = read(paths, gallery=gallery)
        train, val, test = (ours.splits[split] for split in ("train", "val", "test"))
        assert sorted(train.identity) == sorted([*val.identity, *test.identity]) == list(range(24))
        ids = np.concatenate([train.ids, val.ids, test.ids])
        assert len(set(ids)) == 48
        identity = np.concatenate([train.identity, val.identity, test.identity])
        stems = np.array([name.split("/")[1] for name in ids])
        assert (stems == [drawn[number]["image"].removesuffix(".png") for number in identity]).all()
        assert [{name.split("/")[0] for name in part.ids} for part in (train, val, test)] == {
            "noto": [{"noto"}, {"twemoji"}, {"twemoji"}],
            "twemoji": [{"twemoji"}, {"noto"}, {"noto"}],
            "mixed": [{"noto", "twemoji"}] * 3,
        }[gallery]
        of = dict(zip(train.identity, train.ids, strict=True))
        for part in (val, test):
            assert all(
                of[who].split("/")[0] != name.split("/")[0] for who, name in zip(part.identity, part.ids, strict=True)
            )


def test_mixed_has_as_many_of_each_hand(paths):
    hands = [name.split("/")[0] for name in read(paths, gallery="mixed").splits["train"].ids]
    assert (hands.count("noto"), hands.count("twemoji")) == (12, 12)


def test_equal_drawings_ask_in_the_same_split(paths):
    # Twitter's third and sixth thing are one drawing.
    vals = range(3, 21, 2)
    asked = [read(paths, val=val).splits["val"].identity.tolist() for val in vals]
    together = [len({2, 5} & set(each)) for each in asked]
    assert set(together) == {0, 2}
    assert [len(each) for each in asked] == [val + both // 2 for val, both in zip(vals, together, strict=True)]


def test_labels(paths):
    drawn = [entry for entry in emoji_table() if entry["has_img_twitter"]]
    for label, classes in (
        ("category", ["Flags", "Objects", "Smileys & Emotion"]),
        ("subcategory", [f"part-{number}" for number in ("00", "01", "10", "11", "20", "21")]),
        ("identity", [f"{each['short_name']} ({each['image'].removesuffix('.png')})" for each in drawn]),
    ):
        ours = read(paths, label=label)
        assert ours.classes == classes
        for part in ours.splits.values():
            for row, number in enumerate(part.identity):
                name = ours.classes[part.labels[row]]
                assert name == (classes[number] if label == "identity" else drawn[number][label])


def test_splits_do_not_depend_on_the_label(paths):
    first, second = (read(paths, label=label) for label in ("category", "identity"))
    for split, part in first.splits.items():
        assert part.ids.tolist() == second.splits[split].ids.tolist()


def test_val_has_every_category_in_proportion(paths):
    ours = read(paths)
    assert np.bincount(ours.splits["val"].labels, minlength=3).min() >= 2
    assert ours.split_rule.startswith(
        "train: each emoji as noto draws it; val and test: the same emoji by the other hand"
    )


def test_prepared_file_keeps_identities_and_counts_what_is_alike(paths, tmp_path):
    out = tmp_path / "images.h5"
    small_archives.prepare("emoji", paths, out, **SMALL)
    info = read_image_info(out)
    assert sum(info.counts.values()) == 48
    with h5py.File(out) as file:
        assert file["train/identity"][:].tolist() == list(range(24))
        pairs = file["duplicates"][:]
    counted = duplicates.count(pairs)
    assert counted["test in train"]["exact"] == counted["test in val"]["exact"] == 0
    assert counted["test in train"]["near"] + counted["val in train"]["near"] > 0  # alike, and still there


def changed(tmp_path, kind="google", **contents):
    """The two archives, one with other members; None leaves one out."""
    paths = {}
    for name, each in ((GOOGLE, "google"), (TWITTER, "twitter")):
        members = dict(members_of(each))
        if kind in (each, "both"):
            members |= contents
        kept = {member: data for member, data in members.items() if data is not None}
        paths[name] = small_archives.write_tar(tmp_path / name, kept)
    return paths


def table(**changes):
    """emoji.json with a changed first entry; None takes a key away."""
    first, *rest = emoji_table()
    first = {key: value for key, value in (first | changes).items() if value is not None}
    return json.dumps([first, *rest]).encode()


PICTURE = "package/img/google/64/1f600.png"


@pytest.mark.parametrize(
    ("json_file", "match"),
    [
        (None, "16.0.0.tgz: has no member 'package/emoji.json'"),
        (b"\xff\xfe[", "emoji.json: is not JSON"),
        (b"[" * 200_000, "emoji.json: is not JSON"),
        (b"[1, 2", "emoji.json: is not JSON"),
        (b'{"a": 1}', "emoji.json: is not a list of emoji"),
        (b"[1]", "emoji.json: entry 0 is not an object"),
        (b"[]", "emoji.json names no emoji that both artists have drawn"),
        (table(category=None), "entry 0 has no text 'category'"),
        (table(subcategory=3), "entry 0 has no text 'subcategory'"),
        (table(short_name="a\nb"), "entry 0 has no text 'short_name'"),
        (table(category="\ud800"), "entry 0 has no text 'category'"),
        (table(has_img_twitter="yes"), "entry 0 does not say true or false for 'has_img_twitter'"),
        (table(image="../../x.png"), "entry 0 has a strange 'image', '../../x.png'"),
        (table(image="1f601-fe0f.png"), "names '1f601-fe0f.png' twice"),
        (table(image="1f5ff.png"), "has no member 'package/img/google/64/1f5ff.png', which emoji.json promises"),
    ],
)
def test_another_table_is_refused(tmp_path, json_file, match):
    paths = changed(tmp_path, "both", **{"package/emoji.json": json_file})
    small_archives.refused("emoji", paths, tmp_path, match, **SMALL)


@pytest.mark.parametrize(
    ("contents", "match"),
    [
        ({PICTURE: None}, "has no member 'package/img/google/64/1f600.png', which emoji.json promises"),
        ({PICTURE: b""}, r"1f600.png: is empty \(0 bytes\)"),
        ({PICTURE: members_of("google")[PICTURE][:300]}, "1f600.png: cannot be decoded"),
        ({PICTURE: b"GIF?"}, "1f600.png: is not a picture of a known format"),
        ({"../x": b"1"}, "unsafe name"),
        ({"/x": b"1"}, "unsafe name"),
        ({"package/bomb": bytes(32 * 2**20)}, "more than 100 times its size"),
        ({"package/emoji.json": table(category="Flags")}, "its emoji.json is not that of"),
    ],
)
def test_another_content_is_refused(tmp_path, contents, match):
    small_archives.refused("emoji", changed(tmp_path, **contents), tmp_path, match, **SMALL)


def test_links_and_broken_archives_are_refused(paths, tmp_path):
    whole = paths[TWITTER].read_bytes()
    (tmp_path / TWITTER).write_bytes(whole[: len(whole) // 2])
    half = paths | {TWITTER: tmp_path / TWITTER}
    small_archives.refused("emoji", half, tmp_path, "is not a whole tar file", **SMALL)
    with tarfile.open(tmp_path / GOOGLE, "w:gz") as tar:
        link = tarfile.TarInfo("package/emoji.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    linked = paths | {GOOGLE: tmp_path / GOOGLE}
    small_archives.refused("emoji", linked, tmp_path, "is neither a plain file nor a folder", **SMALL)


@pytest.mark.parametrize(
    ("val", "match"), [(2, "val gets 2 images, too few"), (100, "has 23 images, but the splits need 100 val")]
)
def test_too_many_or_too_few_for_val(paths, tmp_path, val, match):
    small_archives.refused("emoji", paths, tmp_path, match, val=val)


def test_archives_are_fetched_by_name_and_nothing_else():
    declared = registry.declared("datasets", "emoji")["ARCHIVES"]
    for kind, (name, archive) in zip(("google", "twitter"), declared.items(), strict=True):
        assert name == f"emoji-datasource-{kind}-16.0.0.tgz"
        assert archive["command"] == f"npm pack emoji-datasource-{kind}@16.0.0"
        assert set(archive) == {"command", "bytes", "checksum"}
        assert archive["checksum"].startswith("sha256:")
