"""Exact nearest neighbours in L2, with all ties, in bounded memory.

Two steps. A float32 matrix product gives approximate squared distances with a proven error bound. Every gallery row
that the bound cannot rule out becomes a candidate, so by construction the candidates contain the k nearest and all that
is tied with the k-th; where the bound decides nothing, that is the whole gallery. Candidates then get their distance
from float64 differences, computed from query and row alone: results do not depend on tiles, threads or row order.

The bound. Let u = 2^-24, gamma_n = n u / (1 - n u), q and g the rows after subtracting the gallery's mean (which leaves
distances as they are and makes norms small), a = |q|^2, b = |g|^2. Then b - 2 q.g, computed in float32, differs from
the true |q - g|^2 - a by at most
    2|q||g| gamma_D   the dot product of D terms, in any order of summation (Higham 2002, eq. 3.5)
    4u (a + b)        rounding the centred rows
    6u (a + b)        rounding b, the difference and the sums made with it
which is at most eta (a + b) with eta = gamma_{D+16}, since 2|q||g| <= a + b; and by `tiny` where products underflow.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from visrec import store
from visrec.errors import UserError

QUERIES = 1024  # queries per tile
GALLERY = 4096  # gallery rows per block: with QUERIES, 16 MiB of approximate distances
DIFFERENCES = 2**21  # float64 differences in memory at once (16 MiB)
COLUMNS = ["query_id", "query_label", "rank", "id", "label", "distance", "correct"]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest gallery rows of each of Q queries, and all further rows at exactly the k-th distance.

    Those of query i are `rows[starts[i]:starts[i + 1]]`, at least k of them, sorted by (distance, row).

    Attributes:
        starts: int64 (Q + 1,).
        rows: int64 (E,), gallery rows.
        squared: float64 (E,), squared L2 distances.
    """

    starts: np.ndarray
    rows: np.ndarray
    squared: np.ndarray

    def count(self, labels: np.ndarray, classes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Class counts of the gallery rows nearer than the k-th distance, and of those at it.

        Args:
            labels: int64 (N,), classes of the gallery, 0..classes - 1.
            classes: C.
            k: at most the k of the search.

        Returns:
            nearer and tied, int64 (Q, C).
        """
        queries = len(self.starts) - 1
        query = np.repeat(np.arange(queries), np.diff(self.starts))
        kth = self.squared[self.starts[:-1] + k - 1][query]
        cell = query * classes + labels[self.rows]
        nearer, tied = (
            np.bincount(cell[which], minlength=queries * classes).reshape(queries, classes)
            for which in (self.squared < kth, self.squared == kth)
        )
        return nearer, tied


def nearest(queries: np.ndarray, gallery: np.ndarray, k: int, exclude: np.ndarray | None = None) -> Neighbours:
    """The exact k nearest gallery rows of each query in L2, with all ties of the k-th.

    Args:
        queries: float32 (Q, D), finite.
        gallery: float32 (N, D), finite.
        k: number of neighbours, at least 1.
        exclude: int64 (Q,), one gallery row that each query leaves out, or -1 for none.

    Raises:
        UserError: the gallery has fewer than k rows to offer.
    """
    parts = [found for _, found in tiles(queries, gallery, k, exclude)]
    lengths = np.concatenate([np.diff(part.starts) for part in parts]) if parts else np.zeros(0, np.int64)
    return Neighbours(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts)]),
        np.concatenate([np.zeros(0), *(part.squared for part in parts)]),
    )


def tiles(
    queries: np.ndarray, gallery: np.ndarray, k: int, exclude: np.ndarray | None = None
) -> Iterator[tuple[slice, Neighbours]]:
    """`nearest`, a tile of queries at a time: memory stays bounded however many ties there are.

    Yields:
        the rows of `queries` in the tile, and their neighbours.

    Raises:
        UserError: the gallery has fewer than k rows to offer.
    """
    exclude = np.full(len(queries), -1) if exclude is None else exclude
    if k > len(gallery) - (exclude >= 0).any():
        raise UserError(f"k-NN: k = {k}, but only {len(gallery)} images to choose from; choose a smaller k")
    largest = max(abs(float(limit)) for x in (queries, gallery) if x.size for limit in (x.min(), x.max()))
    search = _Search(gallery, largest)
    for start in range(0, len(queries), QUERIES):
        tile = slice(start, min(start + QUERIES, len(queries)))
        yield tile, search.nearest(queries[tile], k, exclude[tile])


class _Search:
    """What every tile needs of the gallery; `largest` is the greatest absolute value of any feature."""

    def __init__(self, gallery: np.ndarray, largest: float):
        self.gallery = gallery
        # Powers of two scale without rounding, so squares neither overflow nor, where they matter, underflow.
        self.scale = 2.0 ** -np.clip(math.frexp(largest)[1], -126, 126)
        self.centre = torch.from_numpy(gallery.mean(axis=0, dtype=np.float64) * self.scale).float()
        self.norms = torch.cat([_squared_norms(block) for _, block in self.blocks()])
        terms = (gallery.shape[1] + 16) * 2.0**-24
        self.eta = terms / (1 - terms)
        self.tiny = gallery.shape[1] * 2.0**-118

    def centred(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows).mul(self.scale).sub_(self.centre)

    def blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(0, len(self.gallery), GALLERY):
            yield start, self.centred(self.gallery[start : start + GALLERY])

    def nearest(self, queries: np.ndarray, k: int, exclude: np.ndarray) -> Neighbours:
        query, row = self.candidates(queries, k, torch.from_numpy(exclude))
        squared = np.empty(len(query))
        step = max(1, DIFFERENCES // max(1, queries.shape[1]))
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            difference = queries[query[part]].astype(np.float64)
            difference -= self.gallery[row[part]]
            squared[part] = np.square(difference, out=difference).sum(axis=1)  # each row on its own, in a fixed order

        order = np.lexsort((row, squared, query))
        query, row, squared = query[order], row[order], squared[order]
        first = np.searchsorted(query, np.arange(len(queries)))
        keep = squared <= squared[first + k - 1][query]
        starts = np.searchsorted(query[keep], np.arange(len(queries) + 1))
        return Neighbours(starts, row[keep], squared[keep])

    def candidates(self, queries: np.ndarray, k: int, exclude: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (query, gallery row) with all rows whose lower bound is within the k-th smallest upper bound.

        Squared distances are meant less a, which is constant for each query.
        """
        centred = self.centred(queries)
        slack = 2 * (self.eta * _squared_norms(centred) + self.tiny)[:, None]
        upper = torch.full((len(queries), k), math.inf)
        found = []
        for start, block in self.blocks():
            b = self.norms[start : start + len(block)]
            with _ieee_float32():
                lower = torch.addmm(((1 - self.eta) * b).float(), centred, block.T, alpha=-2)
            own = ((exclude >= start) & (exclude < start + len(block))).nonzero()[:, 0]
            lower[own, exclude[own] - start] = math.inf
            near = lower.topk(min(k, len(block)), largest=False)
            above = (near.values + (slack + 2 * self.eta * b[near.indices])).float()
            upper = torch.cat([upper, above], dim=1).topk(k, largest=False).values
            query, column = (lower <= upper[:, -1:]).nonzero(as_tuple=True)  # `upper` so far: more than needed
            found.append((query, column + start, lower[query, column]))
        query, row, lower = (torch.cat(parts) for parts in zip(*found, strict=True))
        keep = lower <= upper[query, -1]
        return query[keep].numpy(), row[keep].numpy()


def _squared_norms(rows: torch.Tensor) -> torch.Tensor:
    return rows.double().square().sum(dim=1)


@contextmanager
def _ieee_float32() -> Iterator[None]:
    """The bound holds for float32 products, not for the bfloat16 ones that a caller may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_queries(labels: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Rows to show as queries: a fixed choice that depends on labels and ids alone and takes classes in turn.

    In each class ids are ordered by their SHA-256; the first of all classes come before the second, and so on.

    Args:
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        count: how many; all rows if there are fewer.

    Returns:
        int64 (min(count, N),), ordered by class.
    """
    digests = np.array([hashlib.sha256(str(image).encode()).hexdigest() for image in ids])
    turn = np.empty(len(ids), np.int64)
    for label in np.unique(labels):
        (rows,) = np.nonzero(labels == label)
        turn[rows[np.argsort(digests[rows])]] = np.arange(len(rows))
    chosen = np.lexsort((digests, turn))[:count]
    return chosen[np.lexsort((digests[chosen], labels[chosen]))]


def write_neighbours(embeddings_path: str | Path, out_csv: str | Path, queries: int, k: int) -> None:
    """Write the k nearest training images of some test images as CSV, for people to look at.

    Columns: query_id, query_label, rank (1..k), id, label, distance (L2), correct (True or False). Labels are class
    names; without labels, they and `correct` are empty. Equal distances are ordered by id. If training failed, there
    is only the header.

    Args:
        embeddings_path: embeddings.h5.
        out_csv: the file to write.
        queries: number of test images, see `choose_queries`.
        k: number of neighbours of each.

    Raises:
        UserError: embeddings.h5 cannot be read, or there are fewer than k training images.
    """
    embeddings = store.read_embeddings(embeddings_path)
    test, train = embeddings.splits["test"], embeddings.splits["train"]
    names = [*embeddings.classes, ""]  # label -1 takes the last
    records = []
    if embeddings.status == "ok":
        chosen = choose_queries(test.labels, test.ids, queries)
        found = nearest(test.features[chosen], train.features, k)
        for i, query in enumerate(chosen):
            part = slice(found.starts[i], found.starts[i + 1])
            shown = sorted(zip(found.squared[part], train.ids[found.rows[part]], found.rows[part], strict=True))[:k]
            for rank, (squared, image, row) in enumerate(shown, start=1):
                truth, label = names[test.labels[query]], names[train.labels[row]]
                correct = truth == label if truth and label else None
                records.append((test.ids[query], truth, rank, image, label, math.sqrt(squared), correct))
    with store.atomic(out_csv) as temporary:
        pd.DataFrame(records, columns=COLUMNS).to_csv(temporary, index=False)
