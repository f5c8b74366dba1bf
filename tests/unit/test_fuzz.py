"""Whatever a file holds: what is in it, or one line. Never a traceback, a wait, or gigabytes.

Files of our own have their cases beside their readers (`fuzz.tries`); these are the files of others.
"""

import tarfile
from pathlib import Path

import fuzz
import h5py
import numpy as np
import pytest
import small_archives
import yaml
from PIL import Image

from visrec.data import archives
from visrec.data.images import ImageFile, ImageSet, ImageSource, write_images
from visrec.datasets import image_folder
from visrec.encoders import precomputed
from visrec.errors import UserError
from visrec.experiment import config, config_file

ROOT = Path(__file__).parents[2]
HOSTILE = (
    b"",
    b"[",
    b"{",
    b": ",
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b'"',
    b",",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/none",
    b"?",
)
HOSTILE += (b"1e999", b".nan", b"-1", b"0x1F", b"2024-01-01", b"~", b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"9" * 400)


def outcomes(cases, read):
    """How many cases were read, and how many were refused in one line."""
    counts = {"read": 0, "refused": 0}
    for case in cases:
        with fuzz.cheap():
            try:
                read(case)
                counts["read"] += 1
            except UserError as error:
                assert "\n" not in str(error)
                counts["refused"] += 1
    return counts


SMALL = """experiment: demo
seeds: [0, 1]
device: cpu
datasets:
  digits: {sizes: [32]}
  photos: {kind: image_folder, path: ~/photos, val: 0.1, sizes: [32]}
encoders:
  pixels: {}
  pca: {components: 16}
  age: {iterations: 4, batch: 16, grid: {lambda_z: [1000], mu_x: [10]}}
evaluators:
  knn: {k: [1, 3], features: [raw]}
report: {queries: 4}
"""


@fuzz.tries(20, 500)
def test_configs(tmp_path, tries):
    file = tmp_path / "a.yaml"

    def read(content):
        file.write_bytes(content)
        config.check(config_file.read(file))

    found = outcomes(fuzz.damaged(SMALL.encode(), tries, words=HOSTILE), read)
    assert found["refused"] > tries // 3


VALUES = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    float("inf"),
    "",
    "x",
    "\0",
    "a" * 5000,
    [],
    {},
    [[]],
    {"x": {}},
    [None],
    {3: 4},
]


@fuzz.tries(12, 300)
def test_values_of_a_config(tries):
    """Each place of a config with values of any other type."""
    rng = np.random.default_rng(0)

    def case():
        whole = yaml.safe_load(SMALL)
        node = whole
        while True:
            key = [*node][rng.integers(len(node))] if isinstance(node, dict) else int(rng.integers(len(node)))
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
                node = node[key]
                continue
            node[key] = VALUES[rng.integers(len(VALUES))]
            return whole

    found = outcomes((case() for _ in range(tries)), config.check)
    assert found["refused"] > tries // 2


@fuzz.tries(60, 1000)
def test_tables_of_labels(tmp_path, tries):
    file = tmp_path / "labels.csv"
    rows = "path,label,id,split\n" + "".join(
        f'{name}/{n}.jpg,"{name}, é",{n},train\r\n' for n, name in enumerate("abc" * 5)
    )

    def read(content):
        file.write_bytes(content)
        image_folder.table_rows(file)

    assert min(outcomes(fuzz.damaged(rows.encode(), tries, words=HOSTILE), read).values()) > tries // 10


@fuzz.tries(60, 800)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives(tmp_path, kind, tries):
    members = {f"folder/{name}.txt": name.encode() * 300 for name in "abc"}
    file = tmp_path / f"a.{kind}"
    content = {"zip": small_archives.write_zip, "tar": small_archives.write_tar}[kind](file, members).read_bytes()
    if kind == "tar":  # not packed: a packed one has a checksum over all
        with tarfile.open(file) as packed, tarfile.open(file.with_suffix(".plain"), "w") as plain:
            for member in packed:
                plain.addfile(member, packed.extractfile(member))
        content = file.with_suffix(".plain").read_bytes()

    def read(case):
        file.write_bytes(case)
        if kind == "tar":
            archives.read_tar(file, members)
        else:
            with archives.open_zip(file) as opened:
                for name in opened.names:
                    opened.read(name)

    assert outcomes(fuzz.damaged(content, tries), read)["refused"] > tries // 8


@fuzz.tries(20, 300)
def test_batches_of_cifar10(tmp_path, tries):
    """Behind a right checksum: what is in the archive is damaged."""
    members = small_archives.cifar10_members(3)
    name = next(key for key in members if key.endswith("data_batch_1"))
    whole = members[name]
    paths = small_archives.cifar10(tmp_path, 3)
    (path,) = paths.values()
    head = whole[:200] + whole[-2000:]  # where the program is, not the pixels
    places = [*range(200), *range(len(whole) - 2000, len(whole))]

    def read(case):
        changed = bytearray(whole)
        for place, value in zip(places, case.ljust(len(places), b"."), strict=False):
            changed[place] = value
        small_archives.write_tar(path, members | {name: bytes(changed)})
        for part in small_archives.read("cifar10", 32, paths, val=2).splits.values():
            list(part.batches)

    assert outcomes(fuzz.damaged(head, tries), read)["refused"] > tries // 3


@fuzz.tries(6, 150)
def test_features_made_elsewhere(tmp_path, tries):
    ids = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "ü"]}
    sources = {
        split: ImageSource([np.zeros((len(names), 3, 8, 8), np.uint8)], np.zeros(len(names)), np.array(names))
        for split, names in ids.items()
    }
    write_images(tmp_path / "images.h5", ImageSet(sources, ["a"], "", ""), 8)
    source, file = ImageFile(tmp_path / "images.h5"), tmp_path / "features.h5"
    with h5py.File(file, "w") as made:
        made["ids"] = [name for names in ids.values() for name in names]
        made.create_dataset("features", data=np.ones((6, 4), np.float32), chunks=(2, 4), compression="gzip")

    def read(content):
        file.write_bytes(content)
        precomputed.extractor(None, source, {"path": str(file)}, 0, None)

    content = file.read_bytes()
    assert outcomes(fuzz.damaged(content, tries), read)["refused"] > tries // 4


@fuzz.tries(8, 300)
def test_folders_of_pictures(tmp_path, tries):
    """All pictures of a folder damaged: read, or skipped with their names."""
    root, rng = tmp_path / "photos", np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in range(3)]
    options = {name: each["default"] for name, each in image_folder.OPTIONS.items()}
    options |= {"path": str(root), "on_error": "skip"}
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(pictures[0]).save(root / label / f"{number}.png")
    Image.fromarray(pictures[1]).save(tmp_path / "a.jpg")

    def read(content):
        (root / "a/0.jpg").write_bytes(content)
        images = image_folder.read(8, options, {}, 1)
        assert sum(len(part.ids) for part in images.splits.values()) + len(images.skipped) == 11

    assert outcomes(fuzz.damaged((tmp_path / "a.jpg").read_bytes(), tries), read) == {"read": tries, "refused": 0}
