"""Queries to show: which images are asked with, and their nearest training images."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from visrec.data.embeddings import read_embeddings
from visrec.data.files import atomic
from visrec.scoring.neighbours import nearest

COLUMNS = ["query_id", "query_label", "rank", "id", "label", "distance", "correct"]


def digests(ids: Sequence[str]) -> np.ndarray:
    """SHA-256 of each id as hex digits, str (N,): sorted by these, images are in a fixed random order.

    Not by the id itself: it often begins with the class, and the first so many would be a few classes.
    """
    return np.array([hashlib.sha256(str(image).encode()).hexdigest() for image in ids])


def first_by_digest(ids: Sequence[str], count: int) -> np.ndarray:
    """Rows of the `count` ids that come first by SHA-256, in this order; all rows if there are fewer.

    Returns:
        int64 (min(count, N),).
    """
    return np.argsort(digests(ids), kind="stable")[:count]


def choose_queries(labels: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Rows to show as queries: a fixed choice that depends on labels and ids alone and takes classes in turn.

    In each class ids are ordered by their SHA-256; the first of all classes come before the second, and so on. So a
    smaller choice is the beginning of a larger one.

    Args:
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        count: how many; all rows if there are fewer.

    Returns:
        int64 (min(count, N),), in the order of being chosen.
    """
    keys = digests(ids)
    turn = np.empty(len(ids), np.int64)
    for label in np.unique(labels):
        (rows,) = np.nonzero(labels == label)
        turn[rows[np.argsort(keys[rows])]] = np.arange(len(rows))
    return np.lexsort((keys, turn))[:count]


def write_neighbours(embeddings_path: str | Path, out_csv: str | Path, queries: int, k: int) -> None:
    """Write the k nearest training images, all if there are fewer, of some test images as CSV, for the report.

    Queries are in the order of `choose_queries`. Columns: query_id, query_label, rank (1..k), id, label, distance (L2),
    correct (True or False). Labels are class names; without labels, they and `correct` are empty. Equal distances are
    ordered by id. If training failed, there is only the header.

    Args:
        embeddings_path: embeddings.h5.
        out_csv: the file to write.
        queries: number of test images, see `choose_queries`.
        k: number of neighbours of each.

    Raises:
        UserError: embeddings.h5 cannot be read.
    """
    embeddings = read_embeddings(embeddings_path)
    test, train = embeddings.splits["test"], embeddings.splits["train"]
    names = [*embeddings.classes, ""]  # label -1 takes the last
    records = []
    if embeddings.status == "ok":
        chosen = choose_queries(test.labels, test.ids, queries)
        k = min(k, len(train.ids))
        found = nearest(test.features[chosen], train.features, k)
        for i, query in enumerate(chosen):
            part = slice(found.starts[i], found.starts[i + 1])
            shown = sorted(zip(found.squared[part], train.ids[found.rows[part]], found.rows[part], strict=True))[:k]
            for rank, (squared, image, row) in enumerate(shown, start=1):
                truth, label = names[test.labels[query]], names[train.labels[row]]
                correct = truth == label if truth and label else None
                records.append((test.ids[query], truth, rank, image, label, math.sqrt(squared), correct))
    with atomic(out_csv) as temporary:
        pd.DataFrame(records, columns=COLUMNS).to_csv(temporary, index=False)
