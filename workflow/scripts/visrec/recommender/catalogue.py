"""The pictures that are recommended: those a trial was trained on, or a folder that grows and shrinks.

Of a folder every picture is embedded once. It is known by the SHA-256 of its bytes, so a picture that was renamed, or
that lies there twice, is the same one. Features are kept in at most 256 files, one for all hashes that begin with the
same two digits:

    00.h5 .. ff.h5   hashes   bytes (n,), 64 hexadecimal digits, ascending
                     features float32 (n, D)
                     attributes `kind`, and `identity`: what the features depend on, the trial's network above all

A file that says another `identity` is made again. An update embeds the hashes that are missing and writes the files
that change, each at once and under its name only when it is whole. So a process that is killed loses one of them, and
two at once do the same work twice, nothing worse: each answers from what it has in memory itself.

`files.json` remembers the hash of each path with its size and its dates, so that a picture is not read again to know
that it is the same.
"""

import hashlib
import json
import logging
import os
import stat
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from visrec.data.files import atomic, write_text
from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.data.pictures import SUFFIXES, decoded
from visrec.datasets.image_folder import NOT_OURS, SPLIT_FOLDERS, table_rows
from visrec.errors import UserError
from visrec.jobs import progress

log = logging.getLogger(__name__)

SHARD = "visrec gallery shard 1"
DIGITS = 2  # of the hash that name a shard
MAX_BYTES = 2**29  # of a picture's file: no more is read into memory
SETTLED = 2.0  # seconds after which a file's dates tell that it was not written again
FORGOTTEN = 86_400.0  # seconds after which an unfinished file is surely nobody's

Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Gallery:
    """Pictures with their features.

    Attributes:
        ids: str (N,), of the dataset, or SHA-256 of the bytes, ascending.
        features: float32 (N, D), finite.
        labels: N class names, "" = none.
        paths: of each picture, every path it has, relative to `root`; () where it has none.
        identity: a text that changes when ids or features do.
        name: what to call it in a sentence.
        root: the folder, or None.
        skipped: (path, reason) of what could not be read.
        rounding: how far storing has moved a picture's features at most, as a share of their norm.
    """

    ids: np.ndarray
    features: np.ndarray
    labels: list[str]
    paths: list[tuple[str, ...]]
    identity: str
    name: str
    root: Path | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    rounding: float = 0.0


def printable(text: str) -> str:
    """A file's name for a line of a log or a page: what cannot be seen is escaped, newlines for example."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def trained_on(embeddings: str | Path) -> Gallery:
    """The train split of an embeddings.h5.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(embeddings, EMBEDDINGS) as file:
        group, classes = file["train"], [*json.loads(file.attrs["classes"]), ""]  # label -1 takes the last
        features = group["features"].astype(np.float32)[:]
        rounding = float(np.finfo(np.float16).eps) / 2 if group["features"].dtype == np.float16 else 0.0
        ids = group["ids"].asstr()[:].astype(str)
        labels = [classes[label] for label in group["labels"][:]]
    digest = hashlib.sha256("\n".join(ids).encode())
    digest.update(features)
    name = "the training images"
    return Gallery(ids, features, labels, [()] * len(ids), digest.hexdigest(), name, rounding=rounding)


def pictures_in(root: str | Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Pictures in a folder and in the folders in it, or the one file that `root` is.

    Names that begin with a point are passed over. Files without the suffix of a picture are too, and counted in the
    log. Links to folders are not followed, so there are no endless loops.

    Returns:
        paths relative to `root` (of one file its name), sorted; and (path, reason) of what cannot be read.

    Raises:
        UserError: there is no such folder or file.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"{printable(str(root))}: there is no such file or folder; correct the path")
    if not root.is_dir():
        reason = _kind(root)[1]
        return ([], [(root.name, reason)]) if reason else ([root.name], [])
    found: list[str] = []
    skipped: list[tuple[str, str]] = []
    other: Counter = Counter()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            skipped.append((folder or ".", f"the folder cannot be read: {error.strerror}"))
            continue
        for name in names:
            path = f"{folder}/{name}".lstrip("/")
            suffix = PurePosixPath(name).suffix.lower()
            kind, reason = _kind(root / path)
            if name.startswith(".") or name == NOT_OURS:
                continue
            if kind == "folder" and not reason:
                waiting.append(path)
            elif kind == "file" and suffix not in SUFFIXES:
                other[suffix or "no suffix"] += 1
            elif reason:
                skipped.append((path, reason))
            else:
                found.append(path)
    if other:
        kinds = ", ".join(f"{printable(suffix)} {count}" for suffix, count in other.most_common(5))
        log.info("%s: left out %d files without the suffix of a picture (%s)", root, other.total(), kinds)
    return sorted(found), sorted(skipped)


def _kind(path: Path) -> tuple[str, str]:
    """What a path is: "folder", "file" or "other"; and why it is not opened, "" if it is."""
    try:
        str(path).encode()
        about = path.stat()
    except UnicodeEncodeError:
        return "other", "its name is not UTF-8; rename it"
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links may be a RuntimeError
        return "other", f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(about.st_mode):
        return "folder", "is a link to a folder, which is not followed" if path.is_symlink() else ""
    if not stat.S_ISREG(about.st_mode):
        return "other", "is neither a file nor a folder"
    if about.st_size > MAX_BYTES:
        return "file", f"has {about.st_size / 2**20:,.0f} MB; a picture has at most {MAX_BYTES // 2**20}"
    return "file", ""


def kept(
    root: str | Path,
    folder: str | Path,
    identity: str,
    size: int,
    width: int,
    embed: Embed,
    label: Callable[[Sequence[str]], Mapping[str, str]],
    threads: int = 1,
) -> Gallery:
    """The pictures of a folder, with those features that are missing made and kept.

    Args:
        root: the folder of pictures.
        folder: where shards are kept, made if it is not there.
        identity: what features depend on beside the pictures.
        size: S, pixels of a side.
        width: D.
        embed: uint8 (n, 3, S, S) -> float32 (n, D).
        label: paths -> path -> class name, "" = none; `parents` for example.
        threads: that read and decode.

    Raises:
        UserError: there is no such folder, no picture in it can be read, or a shard is damaged.
    """
    root, folder = Path(root), Path(folder)
    files, skipped = pictures_in(root)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    hash_of, unreadable = _hashes(root, files, folder / "files.json", threads)
    paths: dict[str, list[str]] = {}
    for path, digest in hash_of.items():
        paths.setdefault(digest, []).append(path)
    wanted = sorted(paths)
    names = sorted({path.stem for path in folder.glob(f"{'?' * DIGITS}.h5")} | {each[:DIGITS] for each in wanted})
    there = {each for name in names for each in _read(folder / f"{name}.h5", identity, features=False)[0]}
    missing = [each for each in wanted if each not in there]
    log.info("%s: %d pictures, %d of them to be embedded", root, len(wanted), len(missing))
    made = _embedded([(each, root / paths[each][0]) for each in missing], size, embed, threads)

    features, ids, row = np.empty((len(wanted), width), np.float32), [], 0
    broken: list[tuple[str, str]] = []
    for name in names:
        # Read again, hashes and features together: another process may have written it since.
        old, vectors = _read(folder / f"{name}.h5", identity)
        first = row
        for each in wanted[bisect_left(wanted, name) : bisect_left(wanted, f"{name}g")]:  # g comes after f
            if each not in there:
                vector, reason = next(made)
            elif each in old:
                vector, reason = vectors[old[each]], ""
            else:
                raise UserError(f"{folder / name}.h5: another process has written it meanwhile; run again")
            if reason:
                broken += [(path, reason) for path in paths[each]]
                continue
            features[row] = vector
            ids.append(each)
            row += 1
        if ids[first:] != list(old) or not ids[first:]:  # of another identity nothing is read: it goes, too
            _write(folder / f"{name}.h5", identity, ids[first:], features[first:row])
    if not ids:
        raise UserError(f"{root}: no picture in it can be read; {_first([*skipped, *unreadable, *broken])}")
    labels = label(files)
    digest = hashlib.sha256("\n".join([identity, *ids]).encode())
    return Gallery(
        np.array(ids),
        features[:row],
        [labels.get(paths[each][0], "") for each in ids],
        [tuple(paths[each]) for each in ids],
        digest.hexdigest(),
        f"the folder {root}",
        root,
        sorted([*skipped, *unreadable, *broken]),
    )


def _first(skipped: Sequence[tuple[str, str]]) -> str:
    """The end of a sentence on an empty folder."""
    if not skipped:
        return f"known suffixes: {' '.join(sorted(SUFFIXES))}"
    return f"the first, {printable(skipped[0][0])}: {skipped[0][1]}"


def _clear(folder: Path) -> None:
    """Remove what processes that were killed have left; what is young may belong to one that is alive."""
    for path in folder.glob(".*.tmp*"):
        if time.time() - path.stat().st_mtime > FORGOTTEN:
            path.unlink(missing_ok=True)


def _read(path: Path, identity: str, features: bool = True) -> tuple[dict[str, int], np.ndarray | None]:
    """Hash -> row, and features, of a shard; nothing if it is not there or says another identity."""
    if not path.exists():
        return {}, None
    with reading(path, SHARD) as file:
        if file.attrs["identity"] != identity:
            return {}, None
        hashes = file["hashes"].asstr()[:]
        return {digest: row for row, digest in enumerate(hashes)}, file["features"][:] if features else None


def _write(path: Path, identity: str, hashes: Sequence[str], features: np.ndarray) -> None:
    if not hashes:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file["hashes"] = np.array(hashes, dtype="S64")
        file["features"] = features
        file.attrs.update(kind=SHARD, identity=identity)


def _hashes(
    root: Path, files: Sequence[str], memory: Path, threads: int
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """SHA-256 of each file, and (path, reason) of those that cannot be read."""
    known = _remembered(memory)
    found: dict[str, str] = {}
    unreadable, about, unknown = [], {}, []
    for path in files:
        try:
            entry = (root / path).stat()
        except OSError as error:
            unreadable.append((path, f"cannot be opened: {error.strerror}"))
            continue
        about[path] = [entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino]
        if path in known and known[path][:-1] == about[path]:
            found[path] = known[path][-1]
        else:
            unknown.append(path)
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda path: _hash(root / path), unknown)
        bar = progress.bar(results, total=len(unknown), desc="reading the gallery", unit="img")
        for path, (digest, reason) in zip(unknown, bar, strict=True):
            if digest:
                found[path] = digest
            else:
                unreadable.append((path, reason))
    # A file that was written a moment ago may be written again with the same dates: it is read again next time.
    settled = (time.time() - SETTLED) * 1e9
    kept = {path: [*about[path], found[path]] for path in sorted(found) if max(about[path][1:3]) < settled}
    if kept != known or not memory.exists():
        write_text(memory, json.dumps(kept) + "\n")
    return {path: found[path] for path in sorted(found)}, unreadable


def _remembered(memory: Path) -> dict[str, list]:
    try:
        return json.loads(memory.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{memory}: is not JSON ({error}); delete it and run again") from error


def _hash(path: Path) -> tuple[str, str]:
    """(hash, "") or ("", reason)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", f"cannot be opened: {error.strerror}"


def _embedded(
    pictures: Sequence[tuple[str, Path]], size: int, embed: Embed, threads: int
) -> Iterator[tuple[np.ndarray | None, str]]:
    """Features and "" of each (hash, path) in turn, or None and why it cannot be read."""

    def source(digest: str, path: Path) -> Callable[[], bytes]:
        def read() -> bytes:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise OSError("it changed while it was read; run again")
            return data

        return read

    items = [(str(path), source(digest, path)) for digest, path in pictures]
    return embedded(items, size, embed, threads, "embedding the gallery")


def embedded(
    items: Sequence[tuple[str, Path | bytes | Callable[[], bytes]]], size: int, embed: Embed, threads: int, words: str
) -> Iterator[tuple[np.ndarray | None, str]]:
    """Decode and embed pictures: features (D,) and "" of each in turn, or None and why it cannot be read.

    Args:
        items: (name, source) of each, as for `pictures.decoded`.
        size: S, pixels of a side.
        embed: uint8 (n, 3, S, S) -> float32 (n, D).
        threads: that decode.
        words: at the progress bar.
    """
    broken: list[tuple[int, str]] = []
    row = 0
    for batch in decoded(items, size, threads, on_error="skip", broken=broken, label=words):
        reasons = dict(broken)
        broken.clear()
        good = [place for place in range(len(batch)) if row + place not in reasons]
        vectors = iter(embed(batch[good]) if good else ())
        for place in range(row, row + len(batch)):
            yield (None, reasons[place]) if place in reasons else (next(vectors), "")
        row += len(batch)


def parents(paths: Sequence[str]) -> dict[str, str]:
    """The name of the folder that each path lies in; "" where it lies in none."""
    return {path: PurePosixPath(path).parent.name for path in paths}


def classes(paths: Sequence[str], table: str | Path = "") -> dict[str, str]:
    """The class of each path, as `datasets.image_folder` reads a folder, of whatever pictures are in it by now.

    Args:
        paths: relative to the folder.
        table: the dataset's `labels`, a CSV file; a picture that it does not name has no class.

    Raises:
        UserError: the CSV file cannot be read, as `datasets.image_folder` reads it.
    """
    if table:
        rows = table_rows(Path(table).expanduser())
        label_of = {str(PurePosixPath(row["path"])): row["label"] for _, row in rows}
        return {path: label_of.get(path, "") for path in paths}
    tops = {path.split("/")[0] for path in paths if "/" in path}
    splits = {top for top in tops if top.lower() in SPLIT_FOLDERS}
    if "train" not in {top.lower() for top in splits} or (len(splits) == 1 and len(tops) > 1):
        splits = set()  # classes that are called so
    inside = {path: parts[1:] if parts[0] in splits else parts for path in paths if (parts := path.split("/"))}
    return {path: parts[0] if len(parts) > 1 else "" for path, parts in inside.items()}
