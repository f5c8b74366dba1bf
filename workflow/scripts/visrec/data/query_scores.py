"""Scores of single queries, for comparisons between trials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visrec.data.hdf5 import QUERY_SCORES, reading, strings, writing


@dataclass(frozen=True)
class QueryScores:
    """The scores of each query of a split, sorted by id, so that trials of one dataset can be compared.

    Attributes:
        ids: str (Q,), sorted.
        labels: int64 (Q,), classes.
        rows: what each row of `scores` is: the key columns of the evaluator's CSV.
        scores: float64 (rows, Q), fractions; NaN = the query has no such score.
    """

    ids: np.ndarray
    labels: np.ndarray
    rows: list[dict[str, Any]]
    scores: np.ndarray


def write_query_scores(
    path: str | Path,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rows: Mapping[str, list[dict[str, Any]]],
    scores: Mapping[str, np.ndarray],
    lists: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the scores of each query, and nearest neighbours of some.

    Args:
        path: the file.
        splits: split -> ids str (Q,) and labels int64 (Q,), in the order of the scores.
        rows: split -> what each row of its scores is.
        scores: split -> float64 (rows, Q).
        lists: ids str (q,) of queries and int64 (q, k) rows of their nearest training images, if there are any.
    """
    with writing(path, QUERY_SCORES) as file:
        for split, (ids, labels) in splits.items():
            order, group = np.argsort(ids), file.create_group(split)
            group.create_dataset("ids", data=np.asarray(ids, object)[order], dtype=h5py.string_dtype())
            group["labels"] = np.asarray(labels, np.int64)[order]
            # Most scores are one of a few fractions: they compress to a tenth.
            packed = {"compression": "gzip", "compression_opts": 1} if scores[split].size else {}
            group.create_dataset("scores", data=scores[split][:, order], dtype=np.float64, **packed)
            group.attrs["rows"] = json.dumps(rows[split])
        if lists is not None:
            group = file.create_group("lists")
            group.create_dataset("ids", data=np.asarray(lists[0], object), dtype=h5py.string_dtype())
            group["rows"] = np.asarray(lists[1], np.int64)


def read_query_scores(path: str | Path, split: str) -> QueryScores:
    """Read the scores of each query of a split.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, QUERY_SCORES) as file:
        group = file[split]
        return QueryScores(
            strings(group["ids"]), group["labels"][:], json.loads(group.attrs["rows"]), group["scores"][:]
        )


def read_lists(path: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read ids str (q,) of some test images and int64 (q, k) rows of their nearest training images, if they are there.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(path, QUERY_SCORES) as file:
        return (strings(file["lists/ids"]), file["lists/rows"][:]) if "lists" in file else None
