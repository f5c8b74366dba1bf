"""CelebA, aligned and cropped: 202,599 photographs of faces, 178x218 px, with 40 attributes and the person's number.

Source: Z. Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015,
http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html. The checksums, and the numbers of the files on Google Drive, are those
of torchvision.datasets.CelebA. Google Drive sends a page instead of the file once many people have fetched it; then
fetch it by hand and name it under `archives:`.
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from visrec.data import archives as archive_files
from visrec.data import pictures, splits
from visrec.data.images import ImageSet, ImageSource
from visrec.errors import UserError
from visrec.experiment import registry

OPTIONS: dict[str, Any] = {
    "label": {
        "type": "string",
        "default": "Male+Smiling",
        "description": "What makes a class: an attribute, attributes joined by +, or identity.",
    },
    "crop": {
        "enum": ["reference", "none"],
        "default": "reference",
        "description": "Resize to 64x78 and keep rows 7 to 70, in proportion at other sizes; or resize the whole.",
    },
    "train": {"type": "integer", "minimum": 1, "default": 9000, "description": "Images in train."},
    "val": {"type": "integer", "minimum": 1, "default": 500, "description": "Images in val."},
    "test": {"type": "integer", "minimum": 1, "default": 500, "description": "Images in test."},
}
MOST = 10  # attributes whose combinations are classes
ARCHIVES: dict[str, dict[str, Any]] = {
    "img_align_celeba.zip": {
        "url": "https://drive.usercontent.google.com/download?id=0B7EVK8r0v71pZjFTYXZWM3FlRnM&export=download&confirm=t",
        "bytes": 1443490838,
        "checksum": "md5:00d2c5bc6d35e252742224ab0c1e8fcb",
    },
    "list_attr_celeba.txt": {
        "url": "https://drive.usercontent.google.com/download?id=0B7EVK8r0v71pblRyaVFSWGxPY0U&export=download&confirm=t",
        "bytes": 26721026,
        "checksum": "md5:75e246fa4810816ffd6ee81facbd244c",
    },
    "identity_CelebA.txt": {
        "url": "https://drive.usercontent.google.com/download?id=1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS&export=download&confirm=t",
        "bytes": 3424458,
        "checksum": "md5:32bd1bd63d3c78cd57e08160ec5ed1e2",
    },
}


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """Random splits of the faces, the same for every `label`.

    Args:
        size: S, pixels.
        options: see OPTIONS.
        archives: the three files, verified.
        threads: that decode.

    Raises:
        UserError: a file is damaged or has other content, the files name different pictures, an attribute is unknown,
            or there are too few images.
    """
    zip_file, attribute_file, identity_file = (archives[name] for name in ARCHIVES)
    names, attribute_names, attributes = _attributes(attribute_file)
    identity = _identity(identity_file, names, attribute_file)
    members = _members(zip_file, names, attribute_file)
    sizes = {split: options[split] for split in ("train", "val", "test")}
    # One class for all: the split must not depend on the label.
    drawn = splits.stratified(np.zeros(len(names), np.int64), sizes, source=str(zip_file))
    labels, classes = _labels(
        options["label"], attribute_names, attributes, identity, np.concatenate([*drawn.values()])
    )
    parts = {
        split: ImageSource(
            _batches(zip_file, [members[row] for row in rows], size, options["crop"], threads, split),
            labels[rows],
            np.array([names[row] for row in rows]),
            attributes[rows],
            identity[rows],
        )
        for split, rows in drawn.items()
    }
    return ImageSet(
        parts,
        classes=classes,
        split_rule=f"{' / '.join(f'{count:,}' for count in sizes.values())} of {len(names):,}, drawn at random once "
        "with seed 0; a person may be in more than one split",
        source="CelebA, aligned and cropped (Liu et al. 2015)",
        attributes=attribute_names,
    )


def cropped(size: int) -> tuple[int, int]:
    """Height to resize to and first row to keep: 78 and 7 at 64 px, as in the AGE authors' code, else in proportion."""
    return round(78 * size / 64), round(7 * size / 64)


def _batches(path: Path, members: list[str], size: int, crop: str, threads: int, split: str) -> Iterator[np.ndarray]:
    with archive_files.open_zip(path) as archive:
        yield from pictures.decoded(
            [(f"{path}: {name}", partial(archive.read, name)) for name in members],
            size,
            threads,
            crop=cropped(size) if crop == "reference" else None,
            remedy="fetch the archive again",
            label=split,
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as plain text ({error}); fetch it again") from error


def _attributes(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Picture names, attribute names, and attributes uint8 (N, A), 1 where the file says 1 and 0 where it says -1."""
    lines = _lines(path)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise UserError(f"{path}: must begin with the number of pictures and a line of attribute names; fetch it again")
    names, columns, rows = [], lines[1].split(), bytearray()
    for number, line in enumerate(lines[2:], start=3):
        name, *values = line.split() or [""]
        if len(values) != len(columns):
            raise UserError(
                f"{path}, line {number}: has {len(values)} values for {len(columns)} attributes; fetch it again"
            )
        if not {"1", "-1"}.issuperset(values):
            raise UserError(f"{path}, line {number}: has a value that is neither 1 nor -1; fetch it again")
        names.append(name)
        rows.extend([value == "1" for value in values])
    if len(names) != int(lines[0]):
        raise UserError(f"{path}: has {len(names):,} rows but says {int(lines[0]):,}; fetch it again")
    _refuse_repeated(path, names)
    if len(set(columns)) != len(columns):
        raise UserError(f"{path}: an attribute is named twice; fetch it again")
    return names, columns, np.frombuffer(bytes(rows), np.uint8).reshape(len(names), len(columns))


def _refuse_repeated(path: Path, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{path}: has two rows for '{name}'; fetch it again")
        seen.add(name)


def _identity(path: Path, names: list[str], attribute_file: Path) -> np.ndarray:
    """The person's number, int64 (N,), in the order of `names`."""
    numbers: dict[str, int] = {}
    rows = _lines(path)
    for number, line in enumerate(rows, start=1):
        row = line.split()
        if len(row) != 2 or not row[1].isdigit():
            raise UserError(f"{path}, line {number}: must be a picture and the number of a person; fetch it again")
        numbers[row[0]] = int(row[1])
    _refuse_repeated(path, [line.split()[0] for line in rows])
    _refuse_difference(path, set(numbers), attribute_file, set(names))
    return np.array([numbers[name] for name in names], np.int64)


def _members(path: Path, names: list[str], attribute_file: Path) -> list[str]:
    """The zip's member of each picture."""
    found: dict[str, str] = {}
    with archive_files.open_zip(path) as archive:
        for member in archive.names:
            name = PurePosixPath(member).name
            if name.endswith(".jpg") and found.setdefault(name, member) != member:
                raise UserError(f"{path}: holds '{name}' twice, as {found[name]} and {member}; fetch it again")
    _refuse_difference(path, set(found), attribute_file, set(names))
    return [found[name] for name in names]


def _refuse_difference(path: Path, here: set[str], other: Path, there: set[str]) -> None:
    for some, less, more in ((there - here, path, other), (here - there, other, path)):
        if some:
            raise UserError(
                f"{less}: lacks '{min(some)}' (and {len(some) - 1:,} more), which {more} has; fetch both files again"
            )


def _labels(
    label: str, names: list[str], attributes: np.ndarray, identity: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Class of every picture, and the classes that occur among the chosen ones, in a fixed order.

    Pictures of classes that are not among the chosen get -1; none of them is used.
    """
    if label == "identity":
        codes, text = identity, {int(value): f"person {value}" for value in np.unique(identity[chosen])}
    else:
        wanted = [each.strip() for each in label.split("+")]
        if len(wanted) > MOST:
            raise UserError(f"celeba: label: {len(wanted)} attributes, 2^{len(wanted)} classes; name {MOST} at most")
        for each in wanted:
            if each not in names:
                raise UserError(f"celeba: label: no attribute '{each}'; {registry.nearest(each, [*names, 'identity'])}")
        if len(set(wanted)) != len(wanted):
            raise UserError(f"celeba: label: '{label}' names an attribute twice; name it once")
        # The first attribute is the highest bit; present comes before absent.
        absent = 1 - attributes[:, [names.index(each) for each in wanted]].astype(np.int64)
        codes = absent @ (2 ** np.arange(len(wanted))[::-1])
        text = {
            code: ", ".join(prefix + each for prefix, each in zip(prefixes, wanted, strict=True))
            for code, prefixes in enumerate(itertools.product(("", "not "), repeat=len(wanted)))
        }
    values = np.unique(codes[chosen])
    if len(values) < 2:
        raise UserError(f"celeba: label: all chosen pictures are '{text[int(values[0])]}'; choose another label")
    position = np.searchsorted(values, codes).clip(max=len(values) - 1)
    return np.where(values[position] == codes, position, -1), [text[int(value)] for value in values]
