"""The two HDF5 files every stage meets in, written atomically and read with checks.

`images.h5` has the groups train, val and test, each with
    images  uint8 (N, 3, S, S), RGB, 0..255
    labels  int64 (N,), index into the file attribute `classes`, -1 = none
    ids     str (N,), unique in the file, made from the source and not from the row number
and, where the dataset has them, `attributes` uint8 (N, A) and `identity` int64 (N,). Pairs of images that are the same
or nearly so are in `duplicates` (see `visrec.duplicates`).
`embeddings.h5` has the same groups with
    features  float32 or float16 (N, D), contiguous; read as float32
    labels, ids, attributes, identity  as above, in the same order
the same `duplicates`, and file attributes: `layers` (JSON: name -> [start, stop] into D), `status` ("ok" or why
training ended), `spec` (JSON: what made it) and `images_fingerprint`.

A third kind holds what an evaluator found query by query, for comparisons between trials: see `write_query_scores`.
"""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visrec.errors import FULL, REFUSED, UserError, writing

SPLITS = ("train", "val", "test")
IMAGES = "visrec images 1"
EMBEDDINGS = "visrec embeddings 2"
QUERY_SCORES = "visrec query scores 1"
ROWS_AT_ONCE = 1024


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync and rename it into place, on failure remove it.

    A reader sees the old file or the new one, never half of one.

    Raises:
        UserError: the disk, or the quota on it, is full; there may be no such file.
    """
    path = Path(path)
    with writing(path, FULL, REFUSED):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with writing(path, FULL):  # alone: who writes may read other files, and be refused those
            yield temporary
            sync(temporary)
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: str | Path) -> None:
    """Remove what a process that was killed inside `atomic(path)` left behind."""
    path = Path(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        temporary.unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Wait until a file's content is on the disk."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write JSON atomically, in a form that people can read."""
    write_text(path, json.dumps(data, indent=2) + "\n")


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
    """What a dataset hands over for one split: labels and ids at once, pixels in batches so that they can stream.

    Attributes:
        batches: iterable of uint8 (n, 3, S, S), RGB; together as many images as there are ids.
        labels: int64 (N,), -1 = none.
        ids: str (N,), unique in the dataset and stable.
        attributes: uint8 (N, A), 0 or 1, or None.
        identity: int64 (N,), who is in the picture, or None.
        broken: (row, reason) of pictures that could not be read, filled in while the batches are consumed; these rows
            are left out of the file.
    """

    batches: Iterable[np.ndarray]
    labels: np.ndarray
    ids: np.ndarray
    attributes: np.ndarray | None = None
    identity: np.ndarray | None = None
    broken: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ImageSet:
    """What a dataset hands over.

    Attributes:
        splits: "train", "val", "test" -> ImageSource.
        classes: class names; labels index into them.
        split_rule: one sentence on how the splits were made.
        source: where the pictures come from.
        attributes: names of the A attributes.
    """

    splits: Mapping[str, ImageSource]
    classes: Sequence[str]
    split_rule: str
    source: str
    attributes: Sequence[str] = ()


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
        derive: what to store at the top of the file, by name, computed from the three finished groups.

    Raises:
        UserError: ids repeat, labels leave the classes, attributes do not fit, or there are more or fewer pixels than
            ids.
    """
    classes = list(images.classes)
    ids = np.concatenate([np.asarray(images.splits[split].ids, dtype=str) for split in SPLITS])
    if len(np.unique(ids)) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise UserError(f"{path}: image id '{values[counts > 1][0]}' occurs more than once; ids must be unique")
    digest = hashlib.sha256()
    skipped: list[list[str]] = []
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for split in SPLITS:
            part, group = images.splits[split], file.create_group(split)
            columns = _columns(path, split, part, len(classes), len(images.attributes))
            pixels = group.create_dataset("images", (len(part.ids), 3, size, size), np.uint8)
            _write_pixels(pixels, part.batches)
            if part.broken:
                skipped += [[str(part.ids[row]), reason] for row, reason in part.broken]
                keep = np.delete(np.arange(len(part.ids)), [row for row, _ in part.broken])
                columns = {name: values[keep] for name, values in columns.items()}
                pixels = _keep(group, keep)
            for start in range(0, len(pixels), ROWS_AT_ONCE):
                digest.update(pixels[start : start + ROWS_AT_ONCE])
            for name, values in columns.items():
                group.create_dataset(name, data=values, dtype=h5py.string_dtype() if name == "ids" else values.dtype)
                digest.update("\n".join(values).encode() if name == "ids" else np.ascontiguousarray(values))
        for name, values in derive(file).items():
            file[name] = values
        file.attrs.update(
            kind=IMAGES,
            size=size,
            classes=json.dumps(classes),
            attributes=json.dumps(list(images.attributes)),
            split_rule=images.split_rule,
            source=images.source,
            skipped=json.dumps(skipped),
            fingerprint=digest.hexdigest()[:16],
        )


def _columns(path: str | Path, split: str, part: ImageSource, classes: int, attributes: int) -> dict[str, np.ndarray]:
    """What is stored beside the pixels, checked."""
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


def _keep(group: h5py.Group, rows: np.ndarray) -> h5py.Dataset:
    """Leave out rows of `images`; contiguous data cannot shrink in place, and few files have broken pictures."""
    old = group["images"]
    new = group.create_dataset("kept", (len(rows), *old.shape[1:]), np.uint8)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        new[start : start + len(part)] = old[part[0] : part[-1] + 1][part - part[0]]
    del group["images"]
    group.move("kept", "images")
    return group["images"]


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a file of a kind (`IMAGES` or `EMBEDDINGS`) for reading parts of it.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        # Finished files never change, so the lock that network file systems often refuse is not needed.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as HDF5 ({error}); delete it and run again") from error
    with file:
        if file.attrs.get("kind") != kind:
            raise UserError(f"{path}: is not a '{kind}' file; delete it and run again")
        yield file


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
    """Read the attributes of images.h5 alone.

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


def read_images(path: str | Path, split: str) -> ImageSplit:
    """Read one split of images.h5 into memory.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, IMAGES) as file:
        group = file[split]
        return ImageSplit(group["images"][:], group["labels"][:], _strings(group["ids"]))


@dataclass(frozen=True)
class ImageFile:
    """An images.h5 as encoders see it: pictures and their ids, read when asked for, and no labels."""

    path: str | Path

    def images(self, split: str) -> np.ndarray:
        """The pictures of a split, uint8 (N, 3, S, S)."""
        with reading(self.path, IMAGES) as file:
            return file[split]["images"][:]

    def ids(self, split: str) -> np.ndarray:
        """The ids of a split, str (N,)."""
        with reading(self.path, IMAGES) as file:
            return _strings(file[split]["ids"])


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr()[:].astype(str)


@dataclass(frozen=True)
class EmbeddingSplit:
    """The embeddings of one split.

    Attributes:
        features: float32 (N, D), finite.
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        attributes: uint8 (N, A), 0 or 1, or None.
        identity: int64 (N,), who is in the picture, or None.
    """

    features: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    attributes: np.ndarray | None = None
    identity: np.ndarray | None = None


@dataclass(frozen=True)
class Embeddings:
    """What evaluators see.

    Attributes:
        splits: "train", "val", "test" -> EmbeddingSplit; features are (N, 0) unless status is "ok".
        layers: layer name -> slice of the D columns, in stacking order.
        classes: class names.
        status: "ok", or how training ended ("collapsed", "diverged").
        spec: what made the file.
        attributes: names of the A attributes.
        duplicates: pairs of images that are (nearly) the same, `visrec.duplicates.PAIR` (P,); None if never searched.
    """

    splits: Mapping[str, EmbeddingSplit]
    layers: Mapping[str, slice]
    classes: list[str]
    status: str = "ok"
    spec: Mapping[str, Any] = field(default_factory=dict)
    attributes: Sequence[str] = ()
    duplicates: np.ndarray | None = None


def write_embeddings(
    path: str | Path,
    images: str | Path,
    batches: Mapping[str, Iterable[Mapping[str, np.ndarray]]],
    *,
    spec: Mapping[str, Any],
    status: str = "ok",
    dtype: str = "float32",
) -> None:
    """Write embeddings.h5 batch by batch; what is known of the images is copied from images.h5.

    Args:
        path: the file.
        images: the images.h5 whose rows the batches follow.
        batches: per split an iterable of {layer name: float (n, D_layer)}, stacked in the order of the keys.
        spec: what makes the features (encoder, options, seed), kept as JSON.
        status: "ok", or how training ended; then `batches` are not read and features are (N, 0).
        dtype: "float32" or "float16", of the features in the file. float16 rounds a feature x by at most |x| / 2^11, or
            by 2^-25 where |x| < 2^-14.

    Raises:
        UserError: a feature is not finite under status "ok", is too large for `dtype`, or rows are missing.
    """
    info = read_image_info(images)
    layers: dict[str, list[int]] = {}
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        with reading(images, IMAGES) as source:
            for split in SPLITS:
                group = file.create_group(split)
                for name in source[split].keys() - {"images"}:
                    source.copy(source[split][name], group)
            if "duplicates" in source:
                source.copy(source["duplicates"], file)
        for split in SPLITS:
            group = file[split]
            ids = group["ids"]
            features, start = None, 0
            for batch in batches[split] if status == "ok" else ():
                rows = np.concatenate([np.asarray(part, np.float32) for part in batch.values()], axis=1)
                if not np.isfinite(rows).all():
                    raise UserError(f"{path}: a feature of {split} row {start} or after is not finite")
                _refuse_too_large(rows, dtype, f"{path}: a feature of {split} row {start} or after")
                if features is None:
                    # Contiguous, so that a slice of rows is one read: chunks made random rows 13 to 30 times slower.
                    features = group.create_dataset("features", (len(ids), rows.shape[1]), dtype)
                    stops = np.cumsum([part.shape[1] for part in batch.values()])
                    layers = {
                        name: [int(stop - part.shape[1]), int(stop)]
                        for (name, part), stop in zip(batch.items(), stops, strict=True)
                    }
                features[start : start + len(rows)] = rows
                start += len(rows)
            if features is None:
                group.create_dataset("features", (len(ids), 0), dtype)
            if status == "ok" and start != len(ids):
                raise UserError(f"{path}: {split} has {len(ids)} images but {start} embeddings")
        file.attrs.update(
            kind=EMBEDDINGS,
            layers=json.dumps(layers),
            classes=json.dumps(info.classes),
            attributes=json.dumps(info.attributes),
            status=status,
            spec=json.dumps(dict(spec), sort_keys=True),
            images_fingerprint=info.fingerprint,
        )


def _refuse_too_large(rows: np.ndarray, dtype: str, what: str) -> None:
    largest, limit = max(rows.max(initial=0), -rows.min(initial=0)), np.finfo(dtype).max
    if largest > limit:
        raise UserError(
            f"{what} is {largest:.6g}, beyond the {limit:.0f} that {dtype} holds; "
            "say `embeddings: {dtype: float32}` in the config and run again"
        )


def layers_of(file: h5py.File) -> dict[str, slice]:
    """The layers of an opened embeddings.h5: name -> slice of the columns, in stacking order."""
    return {name: slice(*bounds) for name, bounds in json.loads(file.attrs["layers"]).items()}


def read_embeddings(path: str | Path) -> Embeddings:
    """Read embeddings.h5 into memory.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, EMBEDDINGS) as file:
        return Embeddings(
            splits={
                split: EmbeddingSplit(
                    file[split]["features"].astype(np.float32)[:],  # converts while it reads: no second array
                    file[split]["labels"][:],
                    _strings(file[split]["ids"]),
                    *(file[split][name][:] if name in file[split] else None for name in ("attributes", "identity")),
                )
                for split in SPLITS
            },
            layers=layers_of(file),
            classes=json.loads(file.attrs["classes"]),
            status=file.attrs["status"],
            spec=json.loads(file.attrs["spec"]),
            attributes=json.loads(file.attrs["attributes"]),
            duplicates=file["duplicates"][:] if "duplicates" in file else None,
        )


@dataclass(frozen=True)
class QueryScores:
    """The scores of each query of a split, ordered by id, so that trials of one dataset can be set side by side.

    Attributes:
        ids: str (Q,), sorted.
        labels: int64 (Q,), classes.
        rows: what each row of `scores` is: the key columns of the evaluator's CSV.
        scores: float64 (rows, Q), fractions; NaN = this query has no such score.
    """

    ids: np.ndarray
    labels: np.ndarray
    rows: list[dict[str, Any]]
    scores: np.ndarray


def write_query_scores(
    path: str | Path,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rows: Mapping[str, list[dict[str, Any]]],
    scores: Mapping[str, np.ndarray],
    lists: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the scores of each query, and nearest neighbours of some.

    Args:
        path: the file.
        splits: split -> ids str (Q,) and labels int64 (Q,), in the order of the scores.
        rows: split -> what each row of its scores is.
        scores: split -> float64 (rows, Q).
        lists: ids str (q,) of queries and int64 (q, k) rows of their nearest training images, if there are any.
    """
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for split, (ids, labels) in splits.items():
            order, group = np.argsort(ids), file.create_group(split)
            group.create_dataset("ids", data=np.asarray(ids, object)[order], dtype=h5py.string_dtype())
            group["labels"] = np.asarray(labels, np.int64)[order]
            # Most scores are a few fractions again and again: they compress to a tenth.
            packed = {"compression": "gzip", "compression_opts": 1} if scores[split].size else {}
            group.create_dataset("scores", data=scores[split][:, order], dtype=np.float64, **packed)
            group.attrs["rows"] = json.dumps(rows[split])
        if lists is not None:
            group = file.create_group("lists")
            group.create_dataset("ids", data=np.asarray(lists[0], object), dtype=h5py.string_dtype())
            group["rows"] = np.asarray(lists[1], np.int64)
        file.attrs["kind"] = QUERY_SCORES


def read_query_scores(path: str | Path, split: str) -> QueryScores:
    """Read the scores of each query of a split.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, QUERY_SCORES) as file:
        group = file[split]
        return QueryScores(
            _strings(group["ids"]), group["labels"][:], json.loads(group.attrs["rows"]), group["scores"][:]
        )


def read_lists(path: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read ids str (q,) of some test images and int64 (q, k) rows of their nearest training images, if they are there.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, QUERY_SCORES) as file:
        return (_strings(file["lists/ids"]), file["lists/rows"][:]) if "lists" in file else None
