"""embeddings.h5: the features of all images of a dataset.

It has the groups train, val and test, each with
    features  float32 or float16 (N, D), contiguous; read as float32
    labels, ids, attributes, identity  as in images.h5, in the same order
the same `duplicates`, and file attributes: `layers` (JSON: name -> [start, stop] into D), `status` ("ok" or why
training ended), `spec` (JSON: what made it) and `images_fingerprint`.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visrec.data.hdf5 import EMBEDDINGS, IMAGES, SPLITS, reading, strings, writing
from visrec.data.images import read_image_info
from visrec.errors import UserError

log = logging.getLogger(__name__)

SAME = 1e-6  # of the largest feature: a spread below it is rounding
STEPS = 16  # of a dtype that features span at least for their rounding not to matter


@dataclass(frozen=True)
class EmbeddingSplit:
    """The embeddings of one split.

    Attributes:
        features: float32 (N, D), finite.
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        attributes: uint8 (N, A), 0 or 1, or None.
        identity: int64 (N,), the number of the person or thing in the picture, or None.
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
        spec: encoder, options and seed of the features.
        attributes: names of the A attributes.
        duplicates: pairs of (nearly) equal images, `visrec.data.duplicates.PAIR` (P,); None if none were searched for.
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
) -> list[str]:
    """Write embeddings.h5 batch by batch; labels, ids and the like are copied from images.h5.

    Features that say nothing, though they are finite, are logged and returned: see `Range.warnings`.

    Args:
        path: the file.
        images: the images.h5 whose rows the batches follow.
        batches: per split an iterable of {layer name: float (n, D_layer)}, stacked in the order of the keys.
        spec: encoder, options and seed of the features, stored as JSON.
        status: "ok", or how training ended; unless "ok", `batches` are not read and features are (N, 0).
        dtype: "float32" or "float16", of the features in the file. float16 rounds a feature x by at most |x| / 2^11, or
            by 2^-25 where |x| < 2^-14.

    Returns:
        what is suspicious about the features, a sentence each.

    Raises:
        UserError: a feature is not finite under status "ok", is too large for `dtype`, or rows are missing.
    """
    info = read_image_info(images)
    layers: dict[str, list[int]] = {}
    seen = Range()
    with writing(path, EMBEDDINGS) as file:
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
                stored = rows.astype(dtype)
                seen.add(rows, stored)
                features[start : start + len(rows)] = stored
                start += len(rows)
            if features is None:
                group.create_dataset("features", (len(ids), 0), dtype)
            if status == "ok" and start != len(ids):
                raise UserError(f"{path}: {split} has {len(ids)} images but {start} embeddings")
        file.attrs.update(
            layers=json.dumps(layers),
            classes=json.dumps(info.classes),
            attributes=json.dumps(info.attributes),
            status=status,
            spec=json.dumps(dict(spec), sort_keys=True),
            images_fingerprint=info.fingerprint,
        )
    found = seen.warnings(dtype)
    for warning in found:
        log.warning("%s: %s", path, warning)
    return found


class Range:
    """What the features of all images span, as they are stored."""

    def __init__(self) -> None:
        self.rows = self.zero_rows = self.lost_rows = 0
        self.low = self.high = self.first_low = self.first_high = np.zeros(0)

    def add(self, rows: np.ndarray, stored: np.ndarray) -> None:
        """Take in some rows (n, D), before and after they were rounded to the dtype of the file."""
        if not rows.size:
            return
        zero = ~stored.any(axis=1)
        self.lost_rows += int((zero & rows.any(axis=1)).sum())
        self.zero_rows += int(zero.sum())
        ends = stored.min(axis=0), stored.max(axis=0), rows.min(axis=0), rows.max(axis=0)
        if self.rows:
            low, high, first_low, first_high = ends
            ends = (
                np.minimum(self.low, low),
                np.maximum(self.high, high),
                *(np.minimum(self.first_low, first_low), np.maximum(self.first_high, first_high)),
            )
        self.low, self.high, self.first_low, self.first_high = ends
        self.rows += len(rows)

    def warnings(self, dtype: str) -> list[str]:
        """What makes these features say nothing: all the same, all zero, or lost by rounding."""
        if self.rows < 2:
            return []
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        largest, found = max(abs(low).max(), abs(high).max()), []
        coarse = 0 < largest < np.finfo(dtype).smallest_normal
        if (high - low).max() <= SAME * largest:
            found.append(f"the features of all {self.rows:,} images are the same: scores say nothing about the encoder")
        elif self.zero_rows:
            found.append(f"all features of {self.zero_rows:,} of {self.rows:,} images are zero")
        remedy = "say `embeddings: {dtype: float32}` in the config" if dtype == "float16" else "make them larger"
        if self.lost_rows or coarse:
            found.append(f"features are too small for {dtype}, which rounds them to zero or coarsely; {remedy}")
        elif self._are_rounded_alike(dtype):
            found.append(f"features differ by few of the steps that {dtype} has between them; {remedy}")
        return found

    def _are_rounded_alike(self, dtype: str) -> bool:
        """Whether the widest column spans less than `STEPS` steps of the file's dtype, though its values differ."""
        low, high = self.first_low.astype(np.float64), self.first_high.astype(np.float64)
        widest = np.argmax(high - low)
        spread, size = high[widest] - low[widest], max(abs(low[widest]), abs(high[widest]))
        return SAME * size < spread < STEPS * np.finfo(dtype).eps * size


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
                    strings(file[split]["ids"]),
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
