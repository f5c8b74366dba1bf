"""What each kind of HDF5 file holds, checked once when it is opened: names, shapes, types and ranges.

HDF5 can read much that is not in the file: other files, by links, external storage or virtual datasets, and zeros where
nothing was ever written. Only plain data of the file itself is taken (`plain`).
"""

import json
from collections.abc import Iterator
from typing import Any

import h5py

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
PACKED = 1100  # times smaller than its values a compressed dataset is at most: deflate reaches 1032
TEXT = "text"
# The type and the number of dimensions of a dataset of our own files, by its name.
DATASETS: dict[str, tuple[tuple[str, ...], int]] = {
    "images": (("uint8",), 4),
    "features": (("float16", "float32"), 2),
    "labels": (("int64",), 1),
    "ids": ((TEXT,), 1),
    "attributes": (("uint8",), 2),
    "identity": (("int64",), 1),
    "scores": (("float64",), 2),
    "rows": (("int64",), 2),
    "hashes": ((TEXT,), 1),
    "duplicates": (("record",), 1),
}
PAIR = ("a_split", "a", "b_split", "b", "similarity")  # the fields of `duplicates`


class NotPlainError(Exception):
    """A file holds something else than it should; the message says what."""


def plain(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset whose values are in this very file, all of them written.

    Args:
        group: an opened file, or a group in it.
        name: of the dataset in it, no path.

    Raises:
        NotPlainError: there is none; or it is a link, lies in another file, was not written, or is packed by a filter
            that not every HDF5 has.
    """
    found = group.get(name, getlink=True)
    if found is None:
        raise NotPlainError(f"`{name}` is missing")
    if not isinstance(found, h5py.HardLink):
        raise NotPlainError(f"`{name}` is a link, not data")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise NotPlainError(f"`{name}` is no array")
    if dataset.external:
        raise NotPlainError(f"`{name}` lies in another file, {dataset.external[0][0]}")
    if dataset.is_virtual:
        raise NotPlainError(f"`{name}` is a view of other files")
    made = dataset.id.get_create_plist()
    filters = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
    if filters - FILTERS:
        raise NotPlainError(f"`{name}` is packed by filter {min(filters - FILTERS)}; gzip and lzf are read")
    if dataset.size:
        if dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:
            raise NotPlainError(f"`{name}` was never written, or not all of it")
        if dataset.nbytes > dataset.file.id.get_filesize() * (PACKED if filters else 1):
            raise NotPlainError(f"`{name}` is larger than the file")
    return dataset


def check(file: h5py.File, kind: str) -> None:
    """Check that an opened file holds what its kind says; nothing is checked of a kind that is not known here.

    Raises:
        NotPlainError: it does not.
    """
    what = kind.rsplit(" ", 1)[0]
    groups = {"visrec images": _images, "visrec embeddings": _embeddings, "visrec query scores": _query_scores}
    if what == "visrec gallery shard":
        _columns(file, {"hashes", "features"})
        _text(file, "identity")
    elif what in groups:
        groups[what](file)


def _images(file: h5py.File) -> None:
    size = file.attrs["size"]
    classes, attributes = _dataset_facts(file)
    for name in ("split_rule", "source", "fingerprint"):
        _text(file, name)
    skipped = _json(file, "skipped", list)
    if not all(isinstance(each, list) and len(each) == 2 for each in skipped):
        raise NotPlainError("`skipped` is not pairs")
    for group in _splits(file):
        found = _columns(group, {"images", "labels", "ids"}, {"attributes", "identity"})
        if found["images"].shape[1:] != (3, size, size):
            raise NotPlainError(f"`images` are {found['images'].shape}, not (N, 3, {size}, {size})")
        _facts_fit(found, classes, attributes)


def _embeddings(file: h5py.File) -> None:
    classes, attributes = _dataset_facts(file)
    for name in ("status", "images_fingerprint"):
        _text(file, name)
    _json(file, "spec", dict)
    bounds = [_bounds(each) for each in _json(file, "layers", dict).values()]
    starts, width = [start for start, _ in bounds], bounds[-1][1] if bounds else 0
    if starts != [0, *(stop for _, stop in bounds)][: len(bounds)]:
        raise NotPlainError("`layers` do not follow each other")
    for group in _splits(file):
        found = _columns(group, {"features", "labels", "ids"}, {"attributes", "identity"})
        if found["features"].shape[1] != width and len(found["features"]):
            raise NotPlainError(f"`features` have {found['features'].shape[1]} columns, and layers {width}")
        _facts_fit(found, classes, attributes)


def _query_scores(file: h5py.File) -> None:
    for name in file:
        group = _group(file, name)
        if name == "lists":
            _columns(group, {"ids", "rows"})
            continue
        rows = _json(group, "rows", list)
        found = {each: _dataset(group, each) for each in ("ids", "labels", "scores")}
        count = len(found["ids"])
        if len(found["labels"]) != count or found["scores"].shape != (len(rows), count):
            raise NotPlainError(f"`scores` are {found['scores'].shape}, not ({len(rows)}, {count})")
        if not all(isinstance(row, dict) for row in rows):
            raise NotPlainError("`rows` are not names and values")


def _dataset_facts(file: h5py.File) -> tuple[int, int]:
    """How many classes and attributes there are; and `duplicates`, if they are there, are pairs."""
    if "duplicates" in file and _dataset(file, "duplicates").dtype.names != PAIR:
        raise NotPlainError("`duplicates` are not pairs of images")
    counts = []
    for name in ("classes", "attributes"):
        texts = _json(file, name, list)
        if not all(isinstance(each, str) for each in texts):
            raise NotPlainError(f"`{name}` are not names")
        counts.append(len(texts))
    return counts[0], counts[1]


def _facts_fit(found: dict[str, h5py.Dataset], classes: int, attributes: int) -> None:
    labels = found["labels"][:]
    if len(labels) and not -1 <= labels.min() <= labels.max() < classes:
        raise NotPlainError(f"a label is not from -1 to {classes - 1}")
    if "attributes" in found and found["attributes"].shape[1] != attributes:
        raise NotPlainError(f"`attributes` have {found['attributes'].shape[1]} columns, and {attributes} names")


def _splits(file: h5py.File) -> Iterator[h5py.Group]:
    for name in ("train", "val", "test"):
        yield _group(file, name)


def _group(file: h5py.File, name: str) -> h5py.Group:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Group):
        raise NotPlainError(f"group `{name}` is missing")
    return file[name]


def _columns(group: h5py.Group, needed: set[str], known: set[str] = frozenset()) -> dict[str, h5py.Dataset]:
    """Datasets that have a row for each picture."""
    found = {name: _dataset(group, name) for name in sorted(needed | (known & set(group)))}
    lengths = {len(dataset) for dataset in found.values()}
    if len(lengths) > 1:
        raise NotPlainError(f"{', '.join(found)} of '{group.name}' differ in their number of rows")
    return found


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    dataset = plain(group, name)
    types, dimensions = DATASETS[name]
    found = "record" if dataset.dtype.names else str(dataset.dtype)
    found = TEXT if h5py.check_string_dtype(dataset.dtype) else found
    if found not in types or dataset.ndim != dimensions:
        raise NotPlainError(f"`{name}` is {found} {dataset.shape}, not {' or '.join(types)} in {dimensions} dimensions")
    return dataset


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str):
        raise NotPlainError(f"attribute `{name}` is not text")
    return value


def _json(file: h5py.Group, name: str, kind: type) -> Any:
    value = json.loads(file.attrs[name])
    if not isinstance(value, kind):
        raise NotPlainError(f"attribute `{name}` is no {kind.__name__}")
    return value


def _bounds(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(each, int) for each in value)):
        raise NotPlainError(f"the bounds of a layer are {value}")
    if not 0 <= value[0] < value[1]:
        raise NotPlainError(f"the bounds of a layer are {value}")
    return value[0], value[1]
