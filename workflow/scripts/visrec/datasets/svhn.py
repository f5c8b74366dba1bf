"""Street View House Numbers, cropped digits: 73,257 + 26,032 photographs of 32x32 px in two MATLAB files.

Source: Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, NIPS workshop 2011,
http://ufldl.stanford.edu/housenumbers/. The checksums are those of torchvision.datasets.SVHN.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data import matlab, splits
from visrec.data.images import ImageSet, ImageSource
from visrec.datasets import _arrays
from visrec.errors import UserError

OPTIONS: dict[str, Any] = {
    "official": {
        "type": "boolean",
        "default": False,
        "description": "Keep the official parts whole: val is cut from train, and test is all of test.",
    },
    "train": {
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
        "description": "Images in train; null is 70,000, or with official all that val leaves.",
    },
    "val": {"type": "integer", "minimum": 1, "default": 10000, "description": "Images in val."},
    "test": {
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
        "description": "Images in test; null is 16,000, or with official all of test.",
    },
}
ARCHIVES: dict[str, dict[str, Any]] = {
    "train_32x32.mat": {
        "url": "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        "bytes": 182040794,
        "checksum": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
    },
    "test_32x32.mat": {
        "url": "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        "bytes": 64275384,
        "checksum": "md5:eb5a983be6a315427106f1b164d9cef3",
    },
}
DIGITS = list("0123456789")
PAPER_TRAIN, PAPER_TEST = 70_000, 16_000
SIDE = 32
MOST = 1_000_000  # images in one file: 3 GB of pixels


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """The digits, in stratified splits of the seed paper's sizes, or along the official parts.

    Args:
        size: S, pixels.
        options: see OPTIONS.
        archives: the two files, verified.
        threads: not used.

    Raises:
        UserError: a file is damaged or has other content, or too few images.
    """
    train_file, test_file = (archives[name] for name in ARCHIVES)
    train_labels, test_labels = _labels(train_file), _labels(test_file)
    train, val, test, official = (options[name] for name in ("train", "val", "test", "official"))
    if official:
        train = max(len(train_labels) - val, 1) if train is None else train
        test = len(test_labels) if test is None else test
        from_train = splits.stratified(train_labels, {"train": train, "val": val}, classes=DIGITS, source=train_file)
        from_test = splits.stratified(test_labels, {"test": test}, classes=DIGITS, source=test_file)
        rule = f"{train:,} / {val:,} of the official train, {test:,} of the official test"
    else:
        train, test = train or PAPER_TRAIN, test or PAPER_TEST
        from_train = splits.stratified(train_labels, {"train": train}, classes=DIGITS, source=train_file)
        from_test = splits.stratified(test_labels, {"val": val, "test": test}, classes=DIGITS, source=test_file)
        rule = f"{train:,} of the official train, {val:,} / {test:,} of the official test"
    parts = {}
    for part, path, labels, drawn in (
        ("train", train_file, train_labels, from_train),
        ("test", test_file, test_labels, from_test),
    ):
        for split, rows in drawn.items():
            ids = np.array([f"{part}_32x32-{row:06d}" for row in rows])
            parts[split] = ImageSource(_batches(path, rows, size), labels[rows], ids)
    return ImageSet(
        parts,
        classes=DIGITS,
        split_rule=f"{rule}, stratified by digit, drawn once with seed 0",
        source="Street View House Numbers, cropped digits (Netzer et al. 2011)",
    )


def _labels(path: Path) -> np.ndarray:
    """The labels, int64 (N,) in 0..9 (the file has 10 for the digit 0), after the shapes of both arrays are checked."""
    found = matlab.arrays(path)
    shape, kind = (found["X"].shape, found["X"].kind) if "X" in found else ((), "nothing")
    if shape[:3] != (SIDE, SIDE, 3) or len(shape) != 4 or kind != "uint8" or not 0 < shape[3] <= MOST:
        raise UserError(f"{path}: X must be uint8 (32, 32, 3, N), not {kind} {shape}; fetch the official file again")
    count = shape[3]
    shape = found["y"].shape if "y" in found else ()
    if shape not in ((count, 1), (1, count)):
        raise UserError(
            f"{path}: y must have {count} labels as X has images, not {shape}; fetch the official file again"
        )
    labels = matlab.values(path, found["y"]).ravel()
    wrong = labels[~np.isin(labels, range(11))]  # what is not a number is none of these
    if len(wrong):
        raise UserError(f"{path}: y has the label {wrong[0]}; labels are 1 to 9, and 10 for the digit 0")
    return labels.astype(np.int64) % 10


def _batches(path: Path, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Batches of a file, which is read when its first batch is needed, so that only one of the two is in memory."""
    pixels = matlab.values(path, matlab.arrays(path)["X"])
    if pixels.dtype != np.uint8:
        raise UserError(f"{path}: X must be stored as uint8, not {pixels.dtype}; fetch the official file again")
    yield from _arrays.batches(pixels.transpose(3, 2, 0, 1), rows, size)
