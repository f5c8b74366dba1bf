"""Exact and near duplicates, within and between splits, found in pixel space alone.

A query whose copy is in the gallery is too easy: 3.3 % of CIFAR-10's test images have a duplicate in train (Barz and
Denzler, ciFAIR, arXiv:1902.00423). So pairs are found once, when images are prepared, independently of any encoder, and
stored with the images: scores can then be given with and without them.

Two images are near duplicates if their grey miniatures, 16x16, centred and of norm 1, have a correlation of at least
`THRESHOLD` (docs/decisions/0007 says why this value). Miniatures are insensitive to scaling, compression and
brightness; a mirrored or shifted picture counts as another one. Images of almost one colour have no structure to
compare: they are duplicates only if they are equal.

Miniatures, 1 kB each, wait in a temporary file beside images.h5 and are read tile by tile. What stays in memory is
some tens of bytes per image, and the pairs.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from scipy import sparse

from visrec.data.hdf5 import SPLITS
from visrec.errors import UserError
from visrec.jobs import progress

THRESHOLD = 0.96
SIDE = 16
FLAT = 4.0  # standard deviation of grey values, 0..255, below which a miniature is called flat
ROWS = 2048  # of a tile of the correlation matrix
LOADED = 256  # images read at once
MOST = 25_000_000  # near duplicates, as pairs: these fill the 2 GB that the rule asks for
NODE = np.dtype([("split", "u1"), ("row", "i8")])
PAIR = np.dtype([("a_split", "u1"), ("a", "i8"), ("b_split", "u1"), ("b", "i8"), ("similarity", "f4")])


def miniatures(images: np.ndarray) -> np.ndarray:
    """Grey 16x16 miniatures, mean 0 and norm 1, of uint8 (N, 3, S, S): float32 (N, 256); flat ones are 0.

    A value is the mean of the pixels i with floor(k S / 16) <= i < ceil((k + 1) S / 16), both ways.
    """
    side = images.shape[-1]
    pixel, bins = np.arange(side), np.arange(SIDE)[:, None]
    inside = (pixel >= bins * side // SIDE) & (pixel < -((bins + 1) * -side // SIDE))
    sums = inside.astype(np.float32)  # sums of bytes are exact in float32, means would not be
    area = np.outer(sums.sum(axis=1), sums.sum(axis=1))
    grey = images.sum(axis=1, dtype=np.float32)
    small = ((sums @ (grey @ sums.T)) / (3 * area)).reshape(len(images), SIDE**2)
    small -= small.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(norm >= FLAT * SIDE, small / np.maximum(norm, 1e-9), np.float32(0))


def pairs(file: h5py.File) -> np.ndarray:
    """All pairs of (nearly) the same image in an opened images.h5.

    Args:
        file: with the groups train, val and test.

    Returns:
        array of `PAIR`, (P,): splits as indices into `SPLITS`, rows in these, and similarity in [THRESHOLD, 1]; 1 only
        for images equal in every pixel. Each pair once, the earlier image first; ordered.

    Raises:
        UserError: there are more than `MOST` near duplicates.
    """
    with tempfile.TemporaryFile(dir=Path(file.filename).parent) as small:
        kinds, splits, rows = _load(file, small)
        a, b, similarity = (
            np.concatenate(parts) for parts in zip(_equal(kinds, splits), *_near(small, kinds), strict=True)
        )
    table = np.zeros(len(a), PAIR)
    table["a_split"], table["a"] = splits[a], rows[a]
    table["b_split"], table["b"] = splits[b], rows[b]
    table["similarity"] = similarity
    return table[np.lexsort((b, a))]


def count(table: np.ndarray) -> dict[str, dict[str, int]]:
    """Images that have a duplicate elsewhere, by the two splits: {"test in train": {"exact": n, "near": n}, ...}.

    An image counts once however many duplicates it has; "near" includes "exact".
    """
    found = {}
    for later in range(len(SPLITS)):
        for earlier in range(later + 1):
            between = table[(table["a_split"] == earlier) & (table["b_split"] == later)]
            exact = between[between["similarity"] == 1]
            found[f"{SPLITS[later]} in {SPLITS[earlier]}"] = {
                "exact": len(np.unique(exact["b"])),
                "near": len(np.unique(between["b"])),
            }
    return found


def partners(table: np.ndarray, split: str) -> np.ndarray:
    """Which training images are (near) duplicates of which images of a split.

    Copies of a copy count: where a picture is in train three times, all three are partners of what resembles one.

    Args:
        table: from `pairs`.
        split: of the queries.

    Returns:
        int64 (P, 2): row in the split, row in train; each once, ordered; a training image is not its own partner.
    """
    nodes = np.concatenate([table[["a_split", "a"]].astype(NODE), table[["b_split", "b"]].astype(NODE)])
    nodes, node = np.unique(nodes, return_inverse=True)
    a, b = node.reshape(2, -1)
    exact = table["similarity"] == 1
    links = sparse.coo_array((np.ones(exact.sum()), (a[exact], b[exact])), shape=(len(nodes),) * 2)
    count, kind = sparse.csgraph.connected_components(links, directed=False)
    # A kind is a set of equal images. Near kinds, each with itself; then members of one with members of the other.
    alike = sparse.coo_array((np.ones(len(a)), (kind[a], kind[b])), shape=(count,) * 2)
    alike = (alike + alike.T + sparse.eye_array(count)).tocsr()
    member = sparse.csr_array((np.ones(len(nodes)), (np.arange(len(nodes)), kind)), shape=(len(nodes), count))
    queries = np.flatnonzero(nodes["split"] == SPLITS.index(split))
    gallery = np.flatnonzero(nodes["split"] == SPLITS.index("train"))
    query, row = (member[queries] @ alike @ member[gallery].T).nonzero()
    found = np.column_stack([nodes["row"][queries[query]], nodes["row"][gallery[row]]])
    found = found[queries[query] != gallery[row]]
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _load(file: h5py.File, small: BinaryIO) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write the miniature of every image, split after split; return a number that equal images share, split and row."""
    counts = [len(file[split]["ids"]) for split in SPLITS]
    digests = np.empty(sum(counts), np.uint64)  # 64 bits: one dataset in 10^7, of a million images, has a collision
    done = 0
    for split in SPLITS:
        images = file[split]["images"]
        for start in range(0, len(images), LOADED):
            block = images[start : start + LOADED]
            small.write(miniatures(block).tobytes())
            part = slice(done, done + len(block))
            digests[part] = [int.from_bytes(hashlib.blake2b(each, digest_size=8).digest()) for each in block]
            done += len(block)
    small.flush()
    _, kinds = np.unique(digests, return_inverse=True)
    rows = np.concatenate([np.arange(count) for count in counts])
    return kinds, np.repeat(np.arange(len(SPLITS), dtype=np.uint8), counts), rows


def _tile(small: BinaryIO, start: int, out: np.ndarray) -> np.ndarray:
    """Miniatures from row `start` on, float32 (n, 256), n at most `ROWS`; they are in `out`, (`ROWS`, 256)."""
    small.seek(start * SIDE**2 * out.itemsize)
    read = small.readinto(out)
    return out[: read // (SIDE**2 * out.itemsize)]


def _equal(kinds: np.ndarray, splits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of images equal in every pixel: each copy with the first one of its kind in every split up to its own."""
    first: dict[tuple[int, int], int] = {}
    found = []
    copied = np.flatnonzero(np.bincount(kinds)[kinds] > 1)
    for row, kind, split in zip(copied.tolist(), kinds[copied].tolist(), splits[copied].tolist(), strict=True):
        found += [(first[kind, earlier], row) for earlier in range(split + 1) if (kind, earlier) in first]
        first.setdefault((kind, split), row)
    a, b = np.array(found, int).reshape(-1, 2).T
    return a, b, np.ones(len(a))


def _near(small: BinaryIO, kinds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of unequal images whose miniatures correlate at least `THRESHOLD`, by tiles of the matrix's upper half."""
    # Reused buffers: new ones for each tile would fragment the heap.
    first, second = np.empty((2, ROWS, SIDE**2), np.float32)
    products, alike = np.empty(ROWS * ROWS, np.float32), np.empty(ROWS * ROWS, bool)
    found = 0
    for start in progress.bar(range(0, len(kinds), ROWS), desc="near duplicates", unit="tile"):
        tile = _tile(small, start, first)
        for other in range(start, len(kinds), ROWS):
            block = tile if other == start else _tile(small, other, second)
            shape, size = (len(tile), len(block)), len(tile) * len(block)
            correlation = np.matmul(tile, block.T, out=products[:size].reshape(shape))
            close = np.greater_equal(correlation, THRESHOLD, out=alike[:size].reshape(shape))
            a, b = np.divmod(np.flatnonzero(close), len(block))
            # Below 1: 1 is only for images that are equal in every pixel.
            similarity = np.minimum(correlation[a, b], np.float32(1 - 1e-6))
            a, b = a + start, b + other
            keep = (b > a) & (kinds[a] != kinds[b])
            found += np.count_nonzero(keep)
            if found > MOST:
                raise UserError(
                    f"near duplicates: more than {MOST:,} pairs among {len(kinds):,} pictures; if they are frames or "
                    "scans of few scenes, keep some of each scene"
                )
            if keep.any():
                yield a[keep], b[keep], similarity[keep]
