"""CIFAR-10: 60,000 photographs of 32x32 px in ten classes, as pickled batches in a gzipped tar file.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The checksum is that of torchvision.datasets.CIFAR10.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visrec.data import archives as archive_files
from visrec.data import splits
from visrec.data.images import ImageSet, ImageSource
from visrec.datasets import _arrays
from visrec.errors import UserError

OPTIONS: dict[str, Any] = {
    "train": {
        "type": "integer",
        "minimum": 1,
        "default": 40000,
        "description": "Images in train, of the 50,000 official ones.",
    },
    "val": {
        "type": "integer",
        "minimum": 1,
        "default": 10000,
        "description": "Images in val, also of the 50,000 official training images.",
    },
    "test": {
        "type": "integer",
        "minimum": 1,
        "default": 10000,
        "description": "Images in test, of the 10,000 official ones.",
    },
}
ARCHIVES: dict[str, dict[str, Any]] = {
    "cifar-10-python.tar.gz": {
        "url": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "bytes": 170498071,
        "checksum": "md5:c58f30108f718f92721af3b95e74349a",
    },
}
FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
TEST = ["test_batch"]
LIMITS = archive_files.Limits(members=100, total_bytes=2**30)
PIXELS = 3 * 32 * 32


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """The official test images, and the official training images divided into train and val.

    Args:
        size: S, pixels.
        options: see OPTIONS.
        archives: the one file, verified.
        threads: not used.

    Raises:
        UserError: the archive is damaged or has other content, or too few images.
    """
    (path,) = (archives[name] for name in ARCHIVES)
    members = archive_files.read_tar(path, [f"{FOLDER}/{name}" for name in ("batches.meta", *TRAIN, *TEST)], LIMITS)
    classes = _classes(path, members)
    pixels, labels, ids = {}, {}, {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        batches = [_batch(path, members, name, len(classes)) for name in names]
        pixels[part] = np.concatenate([data for data, _ in batches]).reshape(-1, 3, 32, 32)
        labels[part] = np.concatenate([numbers for _, numbers in batches])
        ids[part] = np.array(
            [f"{name}-{row:05d}" for name, (data, _) in zip(names, batches, strict=True) for row in range(len(data))]
        )
    train, val, test = (options[split] for split in ("train", "val", "test"))
    drawn = splits.stratified(
        labels["train"], {"train": train, "val": val}, classes=classes, source=f"{path} ({', '.join(TRAIN)})"
    )
    drawn |= splits.stratified(labels["test"], {"test": test}, classes=classes, source=f"{path} ({TEST[0]})")
    return ImageSet(
        {
            split: ImageSource(_arrays.batches(pixels[part], rows, size), labels[part][rows], ids[part][rows])
            for split, rows, part in ((split, drawn[split], "test" if split == "test" else "train") for split in drawn)
        },
        classes=classes,
        split_rule=f"{train:,} / {val:,} of the official train, {test:,} of the official test, stratified by class, "
        "drawn once with seed 0",
        source="CIFAR-10 (Krizhevsky 2009)",
    )


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, bytes, text and NumPy arrays; anything else is refused before it is created."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Look up a class or function that a pickle names."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data") from None


# Errors of unpickling damaged data.
BROKEN = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    MemoryError,
    OverflowError,
)


def _load(path: Path, members: Mapping[str, bytes], name: str) -> dict[Any, Any]:
    """A member's pickled dict. The archive's checksum was verified before; text of Python 2 is read as bytes."""
    member = f"{FOLDER}/{name}"
    if member not in members:
        raise UserError(f"{path}: has no member '{member}'; fetch the official archive")
    try:
        content = _Unpickler(io.BytesIO(members[member]), encoding="bytes").load()
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: member '{member}' cannot be read ({reason}); fetch the official archive") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: member '{member}' is not a dict; fetch the official archive")
    return content


def _classes(path: Path, members: Mapping[str, bytes]) -> list[str]:
    names = _load(path, members, "batches.meta").get(b"label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, bytes) for name in names):
        raise UserError(f"{path}: batches.meta has no list 'label_names'; fetch the official archive")
    return [name.decode("utf-8", errors="replace") for name in names]


def _batch(path: Path, members: Mapping[str, bytes], name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (n, 3072), a red, a green and a blue plane each, and labels int64 (n,)."""
    content = _load(path, members, name)
    data, labels = content.get(b"data"), content.get(b"labels")
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == PIXELS):
        raise UserError(f"{path}: {name} must hold 'data' as uint8 (n, {PIXELS}); fetch the official archive")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise UserError(f"{path}: {name} must hold 'labels', a list of {len(data)}; fetch the official archive")
    wrong = [label for label in labels if not (type(label) is int and 0 <= label < classes)]
    if wrong:
        raise UserError(f"{path}: {name} has the label {wrong[0]!r}; labels are 0 to {classes - 1}")
    return data, np.array(labels, np.int64)
