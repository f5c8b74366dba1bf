"""Tiny ImageNet: 200 classes of ImageNet at 64x64 px, 500 training and 50 validation photographs each, in a zip file.

Source: Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip. There is no official checksum; the MD5 is the
one in the loader of the Avalanche library (avalanche.benchmarks.datasets.TinyImagenet) and in many others.

The official test images have no labels, so that nothing can be scored on them: the official validation images are the
test split here, and val is cut from train where it is asked for.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data import archives as archive_files
from visrec.data import pictures, splits
from visrec.data.images import ImageSet, ImageSource
from visrec.errors import UserError

OPTIONS: dict[str, Any] = {
    "train": {
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
        "description": "Images in train, of the 100,000 official ones; null is all that val leaves.",
    },
    "val": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Images in val, cut from the official training images, the same share of each class.",
    },
    "test": {
        "type": "integer",
        "minimum": 1,
        "default": 10000,
        "description": "Images in test, of the 10,000 official validation images (the official test has no labels).",
    },
}
ARCHIVES: dict[str, dict[str, Any]] = {
    "tiny-imagenet-200.zip": {
        "url": "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "bytes": 248100043,
        "checksum": "md5:90528d7ca1a48142e341f4ef8d21d0de",
    },
}
ROOT = "tiny-imagenet-200"
COLUMNS = 6  # of val_annotations.txt: file, class, and a box of four numbers


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """Official training images as train and val, official validation images as test.

    Args:
        size: S, pixels.
        options: see OPTIONS.
        archives: the one file, verified.
        threads: that decode.

    Raises:
        UserError: the archive is damaged or has other content, or too few images.
    """
    (path,) = (archives[name] for name in ARCHIVES)
    with archive_files.open_zip(path) as archive:
        known = set(archive.names)
        wnids = sorted(_text(path, archive, known, "wnids.txt").split())
        names_of = dict(
            line.split("\t", 1) for line in _text(path, archive, known, "words.txt").splitlines() if "\t" in line
        )
        annotations = _text(path, archive, known, "val/val_annotations.txt").splitlines()
        names = archive.names
    number = {wnid: label for label, wnid in enumerate(wnids)}
    if len(number) < max(len(wnids), 2):
        raise UserError(f"{path}: wnids.txt must name two or more classes, each once; fetch the official archive")
    if missing := [wnid for wnid in wnids if wnid not in names_of]:
        raise UserError(f"{path}: words.txt has no row for '{missing[0]}'; fetch the official archive")
    classes = [f"{names_of[wnid].split(',')[0].strip()} ({wnid})" for wnid in wnids]
    members, labels = {}, {}
    members["train"], labels["train"] = _train(path, names, number)
    members["val"], labels["val"] = _validation(path, names, annotations, number)
    val, test = options["val"], options["test"]
    train = max(len(labels["train"]) - val, 1) if options["train"] is None else options["train"]
    drawn = splits.stratified(
        labels["train"], {"train": train, "val": val}, classes=classes, source=f"{path} (official train)"
    )
    drawn |= splits.stratified(labels["val"], {"test": test}, classes=classes, source=f"{path} (official validation)")
    parts = {}
    for split, rows in drawn.items():
        official = "val" if split == "test" else "train"
        ids = [members[official][row] for row in rows]
        batches = _batches(path, ids, size, threads, split)
        parts[split] = ImageSource(batches, labels[official][rows], np.array(ids, dtype=str))
    return ImageSet(
        parts,
        classes=classes,
        split_rule=f"{train:,} / {val:,} of the official train, {test:,} of the official validation images as test "
        "(the official test has no labels), stratified by class, drawn once with seed 0",
        source="Tiny ImageNet (Stanford CS231n)",
    )


def _text(path: Path, archive: archive_files.Zip, known: Collection[str], name: str) -> str:
    if f"{ROOT}/{name}" not in known:
        raise UserError(f"{path}: has no member '{ROOT}/{name}'; fetch the official archive")
    try:
        return archive.read(f"{ROOT}/{name}").decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: member '{ROOT}/{name}' is not text; fetch the official archive") from error


def _pictures(names: list[str], folder: str) -> list[str]:
    return sorted(name for name in names if name.startswith(f"{ROOT}/{folder}/") and name.endswith(".JPEG"))


def _train(path: Path, names: list[str], number: Mapping[str, int]) -> tuple[list[str], np.ndarray]:
    """Members `train/<wnid>/images/<picture>` and their labels, in the order of the names."""
    members = _pictures(names, "train")
    wnids = [name.split("/")[2] for name in members]
    if unknown := sorted(set(wnids) - set(number)):
        raise UserError(f"{path}: folder train/{unknown[0]} is not in wnids.txt; fetch the official archive")
    return members, np.array([number[wnid] for wnid in wnids], np.int64)


def _validation(
    path: Path, names: list[str], annotations: list[str], number: Mapping[str, int]
) -> tuple[list[str], np.ndarray]:
    """Members `val/images/<picture>` and their labels from `val_annotations.txt`, in the order of the names."""
    where, labels = f"{path}: val_annotations.txt", {}
    for line, text in enumerate(annotations, start=1):
        row = text.split("\t")
        if len(row) != COLUMNS:
            raise UserError(f"{where}, line {line}: has {len(row)} columns, not {COLUMNS}; fetch the official archive")
        if row[1] not in number:
            raise UserError(f"{where}, line {line}: class '{row[1]}' is not in wnids.txt; fetch the official archive")
        if row[0] in labels:
            raise UserError(f"{where}, line {line}: has '{row[0]}' a second time; fetch the official archive")
        labels[row[0]] = number[row[1]]
    members = _pictures(names, "val")
    there = {name.removeprefix(f"{ROOT}/val/images/") for name in members}
    if extra := sorted(set(labels) - there):
        raise UserError(f"{where} has a row for '{extra[0]}', which is not in val/images; fetch the official archive")
    if missing := sorted(there - set(labels)):
        raise UserError(f"{where} has no row for '{missing[0]}'; fetch the official archive")
    return members, np.array([labels[name.removeprefix(f"{ROOT}/val/images/")] for name in members], np.int64)


def _batches(path: Path, members: list[str], size: int, threads: int, split: str) -> Iterator[np.ndarray]:
    with archive_files.open_zip(path) as archive:
        yield from pictures.decoded(
            [(f"{path}: {name}", partial(archive.read, name)) for name in members],
            size,
            threads,
            remedy="fetch the archive again",
            label=split,
        )
