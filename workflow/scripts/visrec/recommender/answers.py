"""What is found for the queries: their nearest gallery pictures, without the query itself, and how near these are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visrec.data.hdf5 import IMAGES, reading
from visrec.data.pictures import PictureError, decode
from visrec.recommender.likeness import closer_than, same_features, typicality
from visrec.recommender.recommender import Recommender


@dataclass(frozen=True)
class Answer:
    """A query and what was found for it.

    Attributes:
        query: its path.
        rows: int64 (k,), of the gallery, nearest first; fewer where the gallery has no more.
        distances: float64 (k,), L2 between features as they are compared.
        closer: float64 (k,), see `visrec.recommender.likeness.closer_than`.
        typicality: how the query compares with the gallery, see `visrec.recommender.likeness.typicality`.
        itself: row of the query's own picture, which is left out above; None where it is not found in the gallery.
    """

    query: str
    rows: np.ndarray
    distances: np.ndarray
    closer: np.ndarray
    typicality: str
    itself: int | None = None


def answers(recommender: Recommender, queries: Sequence[str], features: np.ndarray, k: int) -> list[Answer]:
    """Find the k nearest gallery pictures of each query, not counting the query itself.

    Args:
        recommender: that searches.
        queries: Q paths.
        features: float32 (Q, D), of the queries.
        k: at least 1.
    """
    found = recommender.search(features, k + 1)  # one more, as a query may find itself
    index = recommender.index(found.rows.shape[1])
    own = index.own
    rounded = recommender.gallery.rounding * np.linalg.norm(recommender.compared(features), axis=1)
    answered = []
    for query, rows, distances, lost in zip(queries, found.rows, found.distances, rounded, strict=True):
        same = same_features(own, lost)
        itself = next((row for row in rows[distances <= same] if _is_itself(recommender, Path(query), row)), None)
        kept = np.flatnonzero(rows != itself)[:k] if itself is not None else np.arange(min(k, len(rows)))
        near = distances[kept]
        nearest = near[:1] if len(near) else np.array([np.inf])
        word = typicality(own, float(nearest[0]), float(index.p_values(nearest)[0]), same)
        answered.append(
            Answer(query, rows[kept], near, closer_than(own, near), word, None if itself is None else int(itself))
        )
    return answered


def _is_itself(recommender: Recommender, query: Path, row: int) -> bool:
    """Whether a query is a picture of the gallery: the same bytes, or among training images the same pixels.

    A query that cannot be read any more is none.
    """
    gallery = recommender.gallery
    try:
        if gallery.root is not None:
            return hashlib.sha256(query.read_bytes()).hexdigest() == gallery.ids[row]
        pixels = decode(query, recommender.size)
    except (OSError, PictureError):
        return False
    with reading(recommender.images, IMAGES) as file:
        return np.array_equal(pixels, file["train/images"][row])
