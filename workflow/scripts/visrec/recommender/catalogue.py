"""The gallery: the pictures that are recommended, those a trial was trained on or those of a folder that changes.

Each picture of a folder is embedded once (`visrec.recommender.feature_cache`). It is identified by the SHA-256 of its
file, so a picture that was renamed, or that is in the folder twice, is the same one.
"""

import hashlib
import json
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from visrec.data.files import expanded, there_is
from visrec.data.folders import SPECIAL, kind_of, scan
from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.data.pictures import SUFFIXES, too_heavy
from visrec.datasets._folder_names import split_folders
from visrec.datasets.image_folder import table_rows
from visrec.errors import UserError, printable
from visrec.recommender.embedder import Embedder
from visrec.recommender.feature_cache import FeatureCache

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """Pictures with their features.

    Attributes:
        ids: str (N,), of the dataset, or SHA-256 of the files, ascending.
        features: float32 (N, D), finite.
        labels: N class names, "" = none.
        paths: of each picture all its paths, relative to `root`; () where it has none.
        identity: a text that changes when ids or features do.
        name: what the page calls it, such as "the folder photos".
        root: the folder, or None.
        skipped: (path, reason) of what could not be read.
        rounding: how far storing has moved a picture's features at most, relative to their norm.
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


def trained_on(embeddings: str | Path) -> Gallery:
    """The train split of an embeddings.h5.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(embeddings, EMBEDDINGS) as file:
        group, class_names = file["train"], [*json.loads(file.attrs["classes"]), ""]  # label -1 takes the last
        features = group["features"].astype(np.float32)[:]
        rounding = float(np.finfo(np.float16).eps) / 2 if group["features"].dtype == np.float16 else 0.0
        ids = group["ids"].asstr()[:].astype(str)
        labels = [class_names[label] for label in group["labels"][:]]
    digest = hashlib.sha256("\n".join(ids).encode())
    digest.update(features)
    name = "the training images"
    return Gallery(ids, features, labels, [()] * len(ids), digest.hexdigest(), name, rounding=rounding)


def pictures_in(root: str | Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The pictures in a folder and in the folders inside it (see `visrec.data.folders.scan`), or one file.

    Returns:
        paths relative to `root` (of one file its name), sorted; and (path, reason) of what cannot be read.

    Raises:
        UserError: there is no such folder or file.
    """
    root = Path(root)
    if not there_is(root):
        raise UserError(f"{printable(root)}: there is no such file or folder; correct the path")
    if root.is_dir():
        contents = scan(root)
        base, names = root, contents.pictures
        skipped = [*contents.skipped, *((path, SPECIAL) for path in contents.special)]
    else:
        kind, reason = kind_of(root)
        base, names, skipped = root.parent, [root.name], []
        if reason or kind == "special":
            names, skipped = [], [(root.name, reason or SPECIAL)]
    too_large = {name: reason for name in names if (reason := _too_large(base / name))}
    return [name for name in names if name not in too_large], sorted([*skipped, *too_large.items()])


def _too_large(path: Path) -> str:
    try:
        return too_heavy(path.stat().st_size)
    except OSError:  # removed meanwhile, which is found out when it is read
        return ""


def update(
    root: str | Path,
    cache: FeatureCache,
    embedder: Embedder,
    label: Callable[[Sequence[str]], Mapping[str, str]],
) -> Gallery:
    """Bring the cached features of a folder up to date, and return its pictures.

    New pictures are embedded; features of pictures that are gone, or of another identity, are removed.

    Args:
        root: the folder of pictures.
        cache: their features so far; its folder is made if it does not exist.
        embedder: of new pictures.
        label: paths -> path -> class name, "" = none; `parents` for example.

    Raises:
        UserError: there is no such folder, no picture in it can be read, or a shard is damaged.
    """
    root = Path(root)
    files, skipped = pictures_in(root)
    cache.prepare()
    hash_of, unreadable = cache.file_hashes(root, files, embedder.threads)
    paths: dict[str, list[str]] = {}
    for path, digest in hash_of.items():
        paths.setdefault(digest, []).append(path)
    ids, features, broken = _update_shards(root, paths, cache, embedder)
    skipped = sorted([*skipped, *unreadable, *((path, reason) for each, reason in broken for path in paths[each])])
    if not ids:
        why = f"known suffixes: {' '.join(sorted(SUFFIXES))}"
        if skipped:
            why = f"the first, {printable(skipped[0][0])}: {skipped[0][1]}"
        raise UserError(f"{root}: no picture in it can be read; {why}")
    labels = label(files)
    return Gallery(
        ids=np.array(ids),
        features=features,
        labels=[labels.get(paths[digest][0], "") for digest in ids],
        paths=[tuple(paths[digest]) for digest in ids],
        identity=hashlib.sha256("\n".join([cache.identity, *ids]).encode()).hexdigest(),
        name=f"the folder {root}",
        root=root,
        skipped=skipped,
    )


def _update_shards(
    root: Path, paths: Mapping[str, Sequence[str]], cache: FeatureCache, embedder: Embedder
) -> tuple[list[str], np.ndarray, list[tuple[str, str]]]:
    """Embed what is not cached and write the shards that change, each as soon as it is complete.

    Args:
        root: the folder of pictures.
        paths: SHA-256 -> paths of the files that have it.
        cache: features so far.
        embedder: of the others.

    Returns:
        hashes (N,) ascending, features float32 (N, D), and (hash, reason) of pictures that cannot be decoded.
    """
    wanted = sorted(paths)
    shards = cache.shards(wanted)
    cached = {digest for shard in shards for digest in cache.hashes(shard)}
    missing = [digest for digest in wanted if digest not in cached]
    log.info("%s: %d pictures, %d of them to be embedded", root, len(wanted), len(missing))
    embedded = _embedded([(digest, root / paths[digest][0]) for digest in missing], embedder)
    features, ids = np.empty((len(wanted), embedder.width), np.float32), []
    broken: list[tuple[str, str]] = []
    for shard in shards:
        # Read again, hashes and features together: another process may have written it since.
        old, first = cache.features(shard), len(ids)
        for digest in wanted[bisect_left(wanted, shard) : bisect_left(wanted, f"{shard}g")]:  # g comes after f
            if digest not in cached:
                vector, reason = next(embedded)
                if reason:
                    broken.append((digest, reason))
                    continue
            elif digest in old:
                vector = old[digest]
            else:
                raise UserError(f"{cache.path(shard)}: another process has written it meanwhile; run again")
            features[len(ids)] = vector
            ids.append(digest)
        if ids[first:] != list(old) or not ids[first:]:  # an empty shard, or one of another identity, is removed
            cache.write(shard, ids[first:], features[first : len(ids)])
    return ids, features[: len(ids)], broken


def _embedded(pictures: Sequence[tuple[str, Path]], embedder: Embedder) -> Iterator[tuple[np.ndarray | None, str]]:
    """Features and "" of each (hash, path) in turn, or None and the reason why it cannot be read."""

    def reader(digest: str, path: Path) -> Callable[[], bytes]:
        def read() -> bytes:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise OSError("it changed while it was read; run again")
            return data

        return read

    return embedder.embed([(str(path), reader(digest, path)) for digest, path in pictures], "embedding the gallery")


def parents(paths: Sequence[str]) -> dict[str, str]:
    """Path -> name of the folder that it is in; "" where it is in none."""
    return {path: PurePosixPath(path).parent.name for path in paths}


def classes(paths: Sequence[str], table: str | Path = "") -> dict[str, str]:
    """Path -> class, by the rules of the dataset `image_folder`, for the pictures that are in its folder now.

    Args:
        paths: relative to the folder.
        table: the dataset's `labels`, a CSV file; a picture that it does not name has no class.

    Raises:
        UserError: the CSV file cannot be read, as `datasets.image_folder` reads it.
    """
    if table:
        rows = table_rows(expanded(table))
        label_of = {str(PurePosixPath(row["path"])): row["label"] for _, row in rows}
        return {path: label_of.get(path, "") for path in paths}
    splits = split_folders(path.split("/")[0] for path in paths if "/" in path)
    inside = {path: parts[1:] if parts[0] in splits else parts for path in paths if (parts := path.split("/"))}
    return {path: parts[0] if len(parts) > 1 else "" for path, parts in inside.items()}
