"""Your own pictures: a folder of class folders, a folder with a CSV file of labels, or just a folder of pictures.

    path/train/cat/1.jpg   class folders in `train`, `val` and `test`, or in folders that mean the same, such as
                           `Training` and `test_set`; `val` and `test`, where missing, are cut from `train`
    path/cat/1.jpg         class folders; `val` and `test` are cut
    path/1.jpg             pictures and `labels: labels.csv` with the columns path, label and, if wanted, id and split;
                           without `labels` the pictures have none

A class is the name of a folder; folders inside it belong to it. Files and folders whose names begin with a dot are
left out, and so are folders that programs make and files without the suffix of a picture (`visrec.data.folders`); the
log says how many.
"""

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from visrec.data.files import expanded, there_is
from visrec.data.folders import Contents, of_dataset
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageSet, ImageSource
from visrec.data.pictures import SUFFIXES, decoded
from visrec.data.splits import stratified
from visrec.datasets._folder_names import check_alike, check_levels, resembles_split, split_folders, split_of
from visrec.errors import UserError, printable

log = logging.getLogger(__name__)

OPTIONS = {
    "path": {
        "type": "string",
        "default": "",
        "description": "The folder of pictures.",
    },
    "labels": {
        "type": "string",
        "default": "",
        "description": "A CSV file with the columns path, label and optionally id and split, for pictures that are "
        "not in class folders; paths in it are relative to the folder.",
    },
    "val": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 0.1,
        "description": "Where there is no val: the share (below 1) or the number of pictures to cut from train for it; "
        "a share is at least a picture of each class.",
    },
    "test": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 0.1,
        "description": "Where there is no test: the share (below 1) or the number of pictures to cut from train for "
        "it; a share is at least a picture of each class.",
    },
    "split_seed": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Seed of the cuts.",
    },
    "on_error": {
        "enum": ["stop", "skip"],
        "default": "stop",
        "description": "If a picture cannot be read: stop, or skip that picture.",
    },
}

COLUMNS = ("path", "label", "id", "split")


@dataclass(frozen=True)
class Picture:
    """One picture: path relative to the folder (POSIX), class ("" for none), id, and the split it was given."""

    path: str
    label: str
    id: str
    split: str = "train"


def read(size: int, options: Mapping[str, Any], archives: Mapping[str, Path], threads: int) -> ImageSet:
    """The pictures of a folder, each resized to size x size. Ids are paths relative to the folder, or the CSV's.

    Pictures are in the order of their paths, whatever the order of the file system or of the CSV.

    Args:
        size: S, pixels.
        options: see `OPTIONS`.
        archives: none.
        threads: that decode pictures.

    Raises:
        UserError: the folder or the CSV does not have one of the forms above, or a picture cannot be read.
    """
    if not options["path"]:
        raise UserError("image_folder: no `path` is set; set it to the folder that holds your pictures")
    root = expanded(options["path"])
    contents = of_dataset(root, skip=options["on_error"] == "skip")
    files, folders = contents.pictures, contents.folders
    if not files:
        others = f" ({contents.of_others()})" if contents.others else ""
        if contents.left_out:
            path, reason = min(contents.left_out.items())
            raise UserError(f"{root}: none of {len(contents.left_out):,} can be used; the first, {path}: {reason}")
        raise UserError(f"{root}: no picture is in it{others}; known suffixes: {' '.join(sorted(SUFFIXES))}")
    if options["labels"]:
        pictures = _from_csv(root, contents, expanded(options["labels"]))
    else:
        pictures = _from_folders(root, files, folders)
    pictures, skipped = _readable(root, pictures, size, threads) if options["on_error"] == "skip" else (pictures, [])
    splits, rule = _split(root, pictures, options)
    classes = sorted({picture.label for picture in pictures} - {""})
    check_alike(root, classes)
    if len(classes) == 1:
        log.warning(
            "%s: all pictures are of one class, '%s': scores that compare with labels say nothing",
            *(root, printable(classes[0])),
        )
    for split in ("val", "test"):
        unknown = {picture.label for picture in splits[split]} - {picture.label for picture in splits["train"]}
        if unknown:
            log.warning("%s: train has no picture of class '%s', which %s has", root, min(unknown), split)
    number = {name: index for index, name in enumerate(classes)} | {"": -1}
    sources = {}
    for split, part in splits.items():
        items = [(str(root / picture.path), root / picture.path) for picture in part]
        sources[split] = ImageSource(
            batches=decoded(items, size, threads, label=f"decoding {split}"),
            labels=np.array([number[picture.label] for picture in part], dtype=np.int64),
            ids=np.array([picture.id for picture in part]),
        )
    source = f"pictures in the folder {options['path']}"
    return ImageSet(sources, classes, rule, source, skipped=[*sorted(contents.left_out.items()), *skipped])


def _readable(
    root: Path, pictures: Sequence[Picture], size: int, threads: int
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """The pictures that can be read, and (id, reason) of the others.

    Splits and classes are made of those that are there, so each picture is decoded once more than with `stop`.
    """
    broken: list[tuple[int, str]] = []
    items = [(str(root / picture.path), root / picture.path) for picture in pictures]
    for _ in decoded(items, size, threads, broken=broken, label="looking for pictures that cannot be read"):
        pass
    reasons = dict(broken)
    kept = [picture for row, picture in enumerate(pictures) if row not in reasons]
    if not kept:
        raise UserError(
            f"{root}: none of {len(pictures):,} pictures can be read; the first, {printable(pictures[0].path)}: "
            f"{reasons[0]}"
        )
    for name in sorted({picture.label for picture in pictures} - {picture.label for picture in kept}):
        log.warning("%s: no picture of class '%s' can be read: the class is left out", root, printable(name))
    for split in sorted({picture.split for picture in pictures} - {picture.split for picture in kept}):
        log.warning("%s: no picture of %s can be read", root, split)
    return kept, [(pictures[row].id, reason) for row, reason in broken]


def _from_folders(root: Path, files: Sequence[str], folders: Sequence[str]) -> list[Picture]:
    tops = {folder.split("/")[0] for folder in folders}
    named = split_folders(tops)
    if not named:
        if tops and all(map(split_of, tops)):
            raise UserError(
                f"{root}: has the folder '{min(tops)}' but no folder 'train'; add it, or rename '{min(tops)}'"
            )
        like = sorted(folder for folder in tops if resembles_split(folder))
        if len(like) > 1:
            log.warning("%s: the folders %s are classes here; if they are splits, rename them", root, ", ".join(like))
        return _one_split(root, "", "train", files, folders)
    if len(named) < len(tops):
        raise UserError(
            f"{root}: the folder '{min(tops - set(named))}' is beside 'train' but is not a split; move it elsewhere, "
            "or rename the splits if they are classes"
        )
    loose = [path for path in files if "/" not in path]
    if loose:
        raise UserError(f"{root / loose[0]}: is beside 'train'; move it into one of the splits")
    twice = [split for split, count in Counter(named.values()).items() if count > 1]
    if twice:
        both = ", ".join(sorted(folder for folder, split in named.items() if split == twice[0]))
        raise UserError(f"{root}: the folders {both} all mean '{twice[0]}'; keep one")
    pictures = [
        picture
        for folder, split in sorted(named.items())
        for picture in _one_split(root, folder, split, files, folders)
    ]
    unlabelled = {picture.split for picture in pictures if not picture.label}
    if unlabelled and len(unlabelled) < len(named):
        raise UserError(
            f"{root}: the pictures of {min(unlabelled)} are not in class folders, others are; sort them into class "
            "folders, or move them elsewhere"
        )
    return pictures


def _one_split(root: Path, folder: str, split: str, files: Sequence[str], folders: Sequence[str]) -> list[Picture]:
    """The pictures in one folder, which holds either class folders or pictures."""
    base = f"{folder}/" if folder else ""
    inside = [path for path in files if path.startswith(base)]
    loose = [path for path in inside if "/" not in path[len(base) :]]
    if not inside:
        raise UserError(f"{root / folder}: no picture is in the folder; add some, or remove the folder")
    if len(loose) == len(inside):
        return [Picture(path, "", path, split) for path in inside]
    if loose:
        raise UserError(f"{root / loose[0]}: is beside folders of pictures; move it into one of them")
    labels = {path: path[len(base) :].split("/")[0] for path in inside}
    every = {path[len(base) :] for path in folders if path.startswith(base) and "/" not in path[len(base) :]}
    empty = sorted(every - set(labels.values()))
    if empty:
        raise UserError(
            f"{root / folder / empty[0]}: no picture is in this class folder; add some, or remove the folder"
        )
    check_levels(root / folder, every, {path[len(base) :] for path in folders if path.startswith(base)})
    return [Picture(path, label, path, split) for path, label in labels.items()]


def _from_csv(root: Path, contents: Contents, table: Path) -> list[Picture]:
    rows = table_rows(table)
    known, pictures, line_of = set(contents.pictures), {}, {}
    for line, row in rows:
        where = f"{table} line {line}"
        path = str(PurePosixPath(row["path"]))
        if path in contents.left_out:
            continue
        if path not in known:
            raise UserError(f"{where}: '{row['path']}' is not a picture in {root}; correct the path or remove the row")
        if path in pictures:
            raise UserError(f"{where}: '{path}' was in line {line_of[path]} already; keep one row for each picture")
        split = split_of(row.get("split", "train"))
        if split is None:
            raise UserError(f"{where}: unknown split '{row['split']}'; write train, val or test")
        if not row.get("id", path):
            raise UserError(f"{where}: the id is empty; fill it in, or leave the column 'id' out")
        pictures[path], line_of[path] = Picture(path, row["label"], row.get("id", path), split), line
    missing = sorted(known - set(pictures))
    if missing:
        raise UserError(
            f"{table}: {len(missing)} pictures in {root} have no row, the first is '{missing[0]}'; add their rows or "
            "remove the pictures"
        )
    first: dict[str, str] = {}
    for path, picture in pictures.items():
        if first.setdefault(picture.id, path) != path:
            raise UserError(
                f"{table} line {line_of[path]}: id '{picture.id}' was in line {line_of[first[picture.id]]} already; "
                "ids must be unique"
            )
    none = [path for path, picture in pictures.items() if not picture.label]
    if none and len(none) < len(pictures):
        raise UserError(f"{table} line {line_of[none[0]]}: the label is empty; fill it in, or leave all labels empty")
    return [pictures[path] for path in sorted(pictures)]


def table_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> text) of every row of `labels`.

    Raises:
        UserError: the file cannot be read, a column is missing or unknown, or a row has another number of fields.
    """
    if there_is(table) and not table.is_file():
        raise UserError(f"{table}: is no file; name the CSV file under `labels`")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            wrong = set(header) - set(COLUMNS) or {"path", "label"} - set(header) or len(set(header)) < len(header)
            if wrong:
                raise UserError(
                    f"{table} line 1: the columns are {','.join(header)!r}; they must be path and label, and may be id "
                    "and split, with commas between them"
                )
            rows = []
            for fields in reader:
                if not any(map(str.strip, fields)):  # an empty line, such as the last
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"{table} line {reader.line_num}: {len(fields)} fields where the first line has {len(header)}; "
                        "correct the row, with quotes around text that holds a comma"
                    )
                rows.append((reader.line_num, dict(zip(header, fields, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{table}: cannot be read as a CSV in UTF-8 ({reason}); check `labels`") from error
    return rows


def _split(root: Path, pictures: Sequence[Picture], options: Mapping[str, Any]) -> tuple[dict[str, list[Picture]], str]:
    """The pictures of each split, and a sentence on how the splits were made."""
    splits: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    for picture in pictures:
        splits[picture.split].append(picture)
    given = [split for split in SPLITS if splits[split]]
    if "train" not in given:
        raise UserError(f"{root}: no picture is in train; put some there, as training needs them")
    train, seed = splits["train"], options["split_seed"]
    classes = len({picture.label for picture in train})
    cuts = {split: _count(options[split], len(train), classes, split) for split in ("val", "test") if not splits[split]}
    if sum(cuts.values()) >= len(train):
        asked = " and ".join(f"{count:,} for {split}" for split, count in cuts.items())
        remedy = "lower `val` or `test`" if max(cuts.values()) > classes else "add some, of each class"
        raise UserError(f"{root}: {len(train):,} pictures are too few to cut {asked} from; {remedy}")
    if cuts:
        names, labels = np.unique([picture.label for picture in train], return_inverse=True)
        sizes = {"train": len(train) - sum(cuts.values()), **cuts}
        rows = stratified(labels, sizes, seed, classes=names, source=str(root))
        splits |= {split: [train[row] for row in part] for split, part in rows.items()}
    counts = " / ".join(f"{len(splits[split]):,}" for split in SPLITS)
    if not cuts:
        return splits, f"train, val and test as given: {counts}"
    how = "stratified by class" if train[0].label else "at random"
    found = f"{' and '.join(given)} as given, " if len(given) > 1 else ""
    return splits, f"{found}{' and '.join(cuts)} cut from train {how}, drawn once with seed {seed}: {counts}"


def _count(asked: float, total: int, classes: int, split: str) -> int:
    """A share or a number of pictures -> a number of pictures, for a share at least one of each class."""
    if asked < 1:
        share = round(asked * total)
        if share < classes:
            log.warning(
                "%s: %d of %d pictures, one of each class, in the place of the %d that `%s: %s` comes to",
                *(split, classes, total, share, split, asked),
            )
        return max(classes, share)
    if asked != int(asked):
        raise UserError(f"image_folder: `{split}: {asked}` is neither a share below 1 nor a whole number; correct it")
    if asked < classes:
        raise UserError(
            f"image_folder: `{split}: {asked}` is fewer than a picture of each of {classes} classes; write {classes} "
            "or more, or a share below 1"
        )
    return int(asked)
