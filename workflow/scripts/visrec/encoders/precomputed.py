"""Features that someone made elsewhere, matched to the images by id.

The HDF5 file has, at its top level and in any order of rows,
    features  float16, float32 or float64 (N, D), finite
    ids       str (N,), the ids of all images of images.h5, of all splits together, each once
both as plain data of this file: no links, no external or virtual storage, all of it written.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from visrec.data.hdf5 import READ_ERRORS, SPLITS, one_line, try_to_read
from visrec.data.images import ImageFile
from visrec.data.structure import NotPlainError, plain
from visrec.errors import UserError

if TYPE_CHECKING:
    import torch

TITLE = "features from a file"
SEEDED = False
FILES = ["path"]
NEW_PICTURES = False
OPTIONS = {
    "embed": {
        "path": {
            "type": "string",
            "pattern": r"^[^{}]*\Z",
            "needed": True,
            "default": "",
            "description": "HDF5 file with `features` (N, D) and `ids` (N,) of all images, in any order.",
        }
    }
}
ROWS_AT_ONCE = 2048


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {"features": float32 (B, D)}, read from the file at options["path"].

    Raises:
        UserError: the file is missing or not as described above, or its ids are not those of the images.
    """
    path = options["path"]
    if not path:
        raise UserError("precomputed: no file of features is named; set `path` under `precomputed` in the config")
    if not Path(path).is_file():
        raise UserError(f"precomputed: {path}: there is no such file; correct `path` in the config")
    images = np.concatenate([source.ids(split) for split in SPLITS])
    unreadable = try_to_read(path, ("ids", "features"))
    if unreadable:
        raise UserError(f"precomputed: {path}: cannot be read as HDF5 ({unreadable}); make the file again")
    try:
        with h5py.File(path, "r", locking=False) as file:
            ids = _ids(path, file)
            row_of = {image: row for row, image in enumerate(ids)}
            _match(path, ids, row_of, images)
            features = _features(path, file, ids)
    except NotPlainError as error:
        raise UserError(f"precomputed: {path}: {error}; write both as ordinary datasets of this file") from error
    except READ_ERRORS as error:
        raise UserError(
            f"precomputed: {path}: cannot be read as HDF5 ({one_line(error)}); make the file again"
        ) from error
    return lambda images, ids: {"features": features[[row_of[image] for image in ids]]}


def _ids(path: str, file: h5py.File) -> list[str]:
    found = plain(file, "ids")
    if h5py.check_string_dtype(found.dtype) is None or found.ndim != 1:
        raise UserError(f"precomputed: {path}: `ids` are not strings (N,); write the images' ids there")
    try:
        return found.asstr()[:].tolist()
    except UnicodeDecodeError as error:
        raise UserError(f"precomputed: {path}: an id is not UTF-8 text ({error}); write the images' ids") from error


def _match(path: str, ids: list[str], row_of: Mapping[str, int], images: np.ndarray) -> None:
    """Refuse ids that are not exactly those of the images."""
    if len(row_of) < len(ids):
        first = next(image for row, image in enumerate(ids) if row_of[image] != row)  # `row_of` has the last row
        repeated = len(ids) - len(row_of)
        raise UserError(f"precomputed: {path}: {repeated} ids are repeated, first '{first}'; give each image one row")
    missing = [image for image in images.tolist() if image not in row_of]
    if missing:
        raise UserError(
            f"precomputed: {path}: lacks {len(missing)} of {len(images)} images, first '{missing[0]}'; "
            "embed these too, or correct the ids"
        )
    known = set(images.tolist())
    extra = [image for image in ids if image not in known]
    if extra:
        raise UserError(
            f"precomputed: {path}: {len(extra)} ids are of no image, first '{extra[0]}'; "
            "leave these rows out, or correct the ids"
        )


def _features(path: str, file: h5py.File, ids: list[str]) -> np.ndarray:
    """All features, float32 (N, D) in the file's order: rows picked from HDF5 one by one would take far longer."""
    found = plain(file, "features")
    if found.dtype.kind != "f" or found.dtype.itemsize not in (2, 4, 8):
        raise UserError(f"precomputed: {path}: `features` are not float16, float32 or float64; write them so")
    if found.ndim != 2 or len(found) != len(ids) or not found.shape[1]:
        raise UserError(
            f"precomputed: {path}: `features` are {found.shape}, but {len(ids)} ids need ({len(ids)}, D); "
            "write one row for each id"
        )
    features = np.empty(found.shape, np.float32)
    for start in range(0, len(found), ROWS_AT_ONCE):
        with np.errstate(over="ignore"):  # what leaves float32 is refused below
            features[start : start + ROWS_AT_ONCE] = found[start : start + ROWS_AT_ONCE]
        bad = ~np.isfinite(features[start : start + ROWS_AT_ONCE]).all(axis=1)
        if bad.any():
            raise UserError(
                f"precomputed: {path}: a feature of '{ids[start + bad.argmax()]}' is not finite in float32; mend it"
            )
    return features
