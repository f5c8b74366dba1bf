"""images.h5: a dataset's pictures, resized to one size.

It has the groups train, val and test, each with
    images  uint8 (N, 3, S, S), RGB, 0..255
    labels  int64 (N,), index into the file attribute `classes`, -1 = none
    ids     str (N,), unique in the file, made from the source and not from the row number
and, where the dataset has them, `attributes` uint8 (N, A) and `identity` int64 (N,). Pairs of images that are the same
or nearly so are in `duplicates` (see `visrec.data.duplicates`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from visrec.data.hdf5 import IMAGES, ROWS_AT_ONCE, SPLITS, reading, strings, writing
from visrec.errors import UserError, has_control


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split.

    Attributes:
        images: uint8 (N, 3, S, S), RGB, 0..255.
        labels: int64 (N,), -1 = none.
        ids: str (N,).
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class ImageSource:
    """What a dataset returns for one split: labels and ids as arrays, pixels as a stream of batches.

    Attributes:
        batches: iterable of uint8 (n, 3, S, S), RGB; together as many images as there are ids.
        labels: int64 (N,), -1 = none.
        ids: str (N,), stable and unique in the dataset.
        attributes: uint8 (N, A), 0 or 1, or None.
        identity: int64 (N,), the number of the person or thing in the picture, or None.
    """

    batches: Iterable[np.ndarray]
    labels: np.ndarray
    ids: np.ndarray
    attributes: np.ndarray | None = None
    identity: np.ndarray | None = None


@dataclass(frozen=True)
class ImageSet:
    """What a dataset returns.

    Attributes:
        splits: "train", "val", "test" -> ImageSource.
        classes: class names; labels index into them.
        split_rule: how the splits were made, for the report.
        source: where the pictures come from, for the report.
        attributes: names of the A attributes.
        skipped: (id, reason) of pictures that could not be read and are in no split.
    """

    splits: Mapping[str, ImageSource]
    classes: Sequence[str]
    split_rule: str
    source: str
    attributes: Sequence[str] = ()
    skipped: Sequence[tuple[str, str]] = ()


def write_images(
    path: str | Path,
    images: ImageSet,
    size: int,
    derive: Callable[[h5py.File], Mapping[str, np.ndarray]] = lambda file: {},
) -> None:
    """Write images.h5.

    Args:
        path: the file.
        images: what to write.
        size: S, pixels.
        derive: computes further arrays of the file, by name, from the three finished groups.

    Raises:
        UserError: ids repeat, a name has a control character, a label is not the index of a class, or arrays differ in
            their number of images.
    """
    classes = list(images.classes)
    ids = np.concatenate([np.asarray(images.splits[split].ids, dtype=str) for split in SPLITS])
    if len(np.unique(ids)) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise UserError(f"{path}: image id '{values[counts > 1][0]}' occurs more than once; ids must be unique")
    for what, texts in (("image id", ids.tolist()), ("class", classes), ("attribute", images.attributes)):
        odd = next((text for text in texts if has_control(text)), None)
        if odd is not None:  # it would break lines of tables, and of logs
            raise UserError(f"{path}: {what} '{odd}' has a control character; rename it")
    digest = hashlib.sha256()
    with writing(path, IMAGES) as file:
        for split in SPLITS:
            part, group = images.splits[split], file.create_group(split)
            columns = _columns(path, split, part, len(classes), len(images.attributes))
            pixels = group.create_dataset("images", (len(part.ids), 3, size, size), np.uint8)
            _write_pixels(pixels, part.batches)
            for start in range(0, len(pixels), ROWS_AT_ONCE):
                digest.update(pixels[start : start + ROWS_AT_ONCE])
            for name, values in columns.items():
                group.create_dataset(name, data=values, dtype=h5py.string_dtype() if name == "ids" else values.dtype)
                digest.update("\n".join(values).encode() if name == "ids" else np.ascontiguousarray(values))
        for name, values in derive(file).items():
            file[name] = values
        file.attrs.update(
            size=size,
            classes=json.dumps(classes),
            attributes=json.dumps(list(images.attributes)),
            split_rule=images.split_rule,
            source=images.source,
            skipped=json.dumps([list(each) for each in images.skipped]),
            fingerprint=digest.hexdigest()[:16],
        )


def _columns(path: str | Path, split: str, part: ImageSource, classes: int, attributes: int) -> dict[str, np.ndarray]:
    """The checked arrays that are stored beside the pixels."""
    count = len(part.ids)
    labels = np.ascontiguousarray(part.labels, dtype=np.int64)
    if labels.shape != (count,) or (count and not -1 <= labels.min() <= labels.max() < classes):
        raise UserError(f"{path}: labels of {split} must be {count} numbers from -1 to {classes - 1}")
    columns = {"labels": labels, "ids": np.array([str(each) for each in part.ids], dtype=object)}
    if part.attributes is not None:
        columns["attributes"] = np.ascontiguousarray(part.attributes, dtype=np.uint8)
        if columns["attributes"].shape != (count, attributes):
            raise UserError(f"{path}: attributes of {split} must be {count} rows of {attributes}")
    if part.identity is not None:
        columns["identity"] = np.ascontiguousarray(part.identity, dtype=np.int64)
        if columns["identity"].shape != (count,):
            raise UserError(f"{path}: identity of {split} must be {count} numbers")
    return columns


def _write_pixels(pixels: h5py.Dataset, batches: Iterable[np.ndarray]) -> None:
    start = 0
    for batch in batches:
        if batch.dtype != np.uint8 or batch.shape[1:] != pixels.shape[1:] or start + len(batch) > len(pixels):
            raise UserError(f"{pixels.name}: got a batch {batch.dtype}{batch.shape} for {pixels.shape}")
        pixels[start : start + len(batch)] = batch
        start += len(batch)
    if start != len(pixels):
        raise UserError(f"{pixels.name}: {len(pixels)} ids but {start} images")


@dataclass(frozen=True)
class ImageInfo:
    """File attributes of images.h5.

    Attributes:
        counts: number of images per split.
        attributes: names of the attributes, if the dataset has them.
        skipped: [id, reason] of pictures that could not be read.
    """

    size: int
    classes: list[str]
    split_rule: str
    source: str
    fingerprint: str
    counts: dict[str, int]
    attributes: list[str]
    skipped: list[list[str]]


def read_image_info(path: str | Path) -> ImageInfo:
    """Read the file attributes of images.h5, no pictures.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, IMAGES) as file:
        attrs = file.attrs
        return ImageInfo(
            size=int(attrs["size"]),
            classes=json.loads(attrs["classes"]),
            split_rule=attrs["split_rule"],
            source=attrs["source"],
            fingerprint=attrs["fingerprint"],
            counts={split: len(file[split]["ids"]) for split in SPLITS},
            attributes=json.loads(attrs["attributes"]),
            skipped=json.loads(attrs["skipped"]),
        )


def label_counts(path: str | Path) -> dict[str, dict[int, int]]:
    """Split -> label, -1 = none -> number of images.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, IMAGES) as file:
        found = {split: np.unique(file[split]["labels"][:], return_counts=True) for split in SPLITS}
    return {split: dict(zip(*(each.tolist() for each in part), strict=True)) for split, part in found.items()}


def read_images(path: str | Path, split: str) -> ImageSplit:
    """Read one split of images.h5 into memory.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, IMAGES) as file:
        group = file[split]
        return ImageSplit(group["images"][:], group["labels"][:], strings(group["ids"]))


@dataclass(frozen=True)
class ImageFile:
    """An images.h5 as encoders see it: pictures and ids, read on demand, and no labels."""

    path: str | Path

    def images(self, split: str) -> np.ndarray:
        """The pictures of a split, uint8 (N, 3, S, S)."""
        with reading(self.path, IMAGES) as file:
            return file[split]["images"][:]

    def ids(self, split: str) -> np.ndarray:
        """The ids of a split, str (N,)."""
        with reading(self.path, IMAGES) as file:
            return strings(file[split]["ids"])
