"""CIFAR-10: 60,000 photographs of 32x32 px in ten classes, as pickled batches in a gzipped tar file.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The checksum is that of torchvision.datasets.CIFAR10.
"""

import io
import math
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

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


class _Pixels:
    """Stands for a NumPy array in a pickle, and becomes one only after all that makes it is checked."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        version, shape, kind, fortran, data = state
        if not (version == 1 and isinstance(kind, _Bytes) and kind.whole and isinstance(data, bytes)):
            raise pickle.UnpicklingError("an array is not of uint8")
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise pickle.UnpicklingError("an array has no shape")
        if math.prod(shape) != len(data) or len(shape) > 2:
            raise pickle.UnpicklingError("an array has more or fewer values than its shape")
        self.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Bytes:
    """Stands for the data type uint8 in a pickle."""

    STATES = ((3, b"|", None, None, None, -1, -1, 0), (2, b"|", None, None, None, -1, -1))  # of NumPy since 1.2, before
    whole = False

    def __setstate__(self, state: Any) -> None:
        if state not in self.STATES:
            raise pickle.UnpicklingError("an array is not of uint8")
        self.whole = True


class _Named:
    """Stands for a function or class that a pickle names: it can be called in one way, and not be changed."""

    __slots__ = ("arguments", "make")

    def __init__(self, make: Callable[[], Any], *arguments: Any) -> None:
        self.make, self.arguments = make, arguments

    def __call__(self, *arguments: Any) -> Any:
        if arguments != self.arguments:
            raise pickle.UnpicklingError("it makes an array in another way than the official batches do")
        return self.make()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it names")


def _with_plain_keys(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """Put items into a dict, whose keys are those of the stack."""

    def checked(unpickler: Any) -> None:
        if not all(isinstance(key, bytes | str | int) for key in unpickler.stack[keys]):
            raise pickle.UnpicklingError("the key of a dict is no text")
        load(unpickler)

    return checked


def _no_set(unpickler: Any) -> None:
    raise pickle.UnpicklingError("it has a set")


class _Unpickler(pickle._Unpickler):
    """Reads dicts, lists, numbers, bytes, text and arrays of uint8; anything else is refused before it is created.

    A crafted pickle can break NumPy's arrays and data types from inside, so none is made by the pickle's words. And it
    can ask the unpickler written in C for a memo of 64 GB: this is the one written in Python. A tuple that holds itself
    twice, 60 times over, takes few bytes, and for ever to hash: nothing is hashed but text and numbers.
    """

    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        pickle.DICT[0]: _with_plain_keys(pickle._Unpickler.load_dict, slice(None, None, 2)),
        pickle.SETITEMS[0]: _with_plain_keys(pickle._Unpickler.load_setitems, slice(None, None, 2)),
        pickle.SETITEM[0]: _with_plain_keys(pickle._Unpickler.load_setitem, slice(-2, -1)),
        **dict.fromkeys((pickle.EMPTY_SET[0], pickle.ADDITEMS[0], pickle.FROZENSET[0]), _no_set),
    }

    NDARRAY = _Named(_Pixels, None)  # is handed around, and never called
    RECONSTRUCT = _Named(_Pixels, NDARRAY, (0,), b"b")
    ALLOWED: Mapping[tuple[str, str], _Named] = {
        ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
        ("numpy", "ndarray"): NDARRAY,
        ("numpy", "dtype"): _Named(_Bytes, b"u1", 0, 1),
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
    RecursionError,
    struct.error,
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
    data = data.array if isinstance(data, _Pixels) else None
    if data is None or data.ndim != 2 or data.shape[1] != PIXELS:
        raise UserError(f"{path}: {name} must hold 'data' as uint8 (n, {PIXELS}); fetch the official archive")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise UserError(f"{path}: {name} must hold 'labels', a list of {len(data)}; fetch the official archive")
    wrong = [label for label in labels if not (type(label) is int and 0 <= label < classes)]
    if wrong:
        what = f"the label {wrong[0]}" if type(wrong[0]) is int and abs(wrong[0]) < 2**63 else "a label that is none"
        raise UserError(f"{path}: {name} has {what}; labels are 0 to {classes - 1}")
    return data, np.array(labels, np.int64)
