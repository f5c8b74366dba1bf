"""Evaluators: one file each, found by name, that turn embeddings into tidy rows of scores.

An evaluator declares `OPTIONS` (option -> JSON Schema with `default` and `description`) and has
`evaluate(embeddings, options, seed) -> list[dict]`, whose rows have the keys `COLUMNS`:
    metric, split    what was measured, on which queries
    k                number of neighbours, or None
    value, low, high fractions in [0, 1]: the mean over queries and its 95 % bootstrap interval
    n                number of queries
    chance           expected value of this metric on this split if features say nothing, or None
    majority         value of the constant answer "the commonest class of train" (accuracies), or None
    status           "ok", or why there is no value: then value, low and high are NaN
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visrec import intervals, registry, store
from visrec.errors import UserError

COLUMNS = ["metric", "split", "k", "value", "low", "high", "n", "chance", "majority", "status"]


def evaluate(
    name: str, embeddings_path: str | Path, options: Mapping[str, Any], seed: int, out_csv: str | Path
) -> None:
    """Score embeddings.h5 with one evaluator and write the rows as CSV.

    Args:
        name: the evaluator.
        embeddings_path: embeddings.h5.
        options: all of its options.
        seed: of the bootstrap.
        out_csv: the file to write.

    Raises:
        UserError: there is no such evaluator, embeddings.h5 cannot be read, or labels are missing.
    """
    component = registry.load("evaluators", name)
    rows = component.evaluate(store.read_embeddings(embeddings_path), options, seed)
    with store.atomic(out_csv) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).astype({"k": "Int64"}).to_csv(temporary, index=False)


def class_counts(embeddings: store.Embeddings) -> dict[str, np.ndarray]:
    """Number of images of each class, int64 (C,), by split.

    Raises:
        UserError: a split has no images, or images without labels.
    """
    counts = {}
    for name, split in embeddings.splits.items():
        if not len(split.labels):
            raise UserError(f"split '{name}' has no images to score; give it some in the dataset's split options")
        missing = np.count_nonzero(split.labels < 0)
        if missing:
            raise UserError(
                f"labels are missing for {missing} of {len(split.labels)} images of split '{name}'; "
                "scores need labels: sort the images into one folder per class, or leave the evaluators out"
            )
        counts[name] = np.bincount(split.labels, minlength=len(embeddings.classes))
    return counts


def score_rows(
    described: list[dict[str, Any]], split: str, ids: np.ndarray, scores: np.ndarray | None, seed: int, status: str
) -> list[dict[str, Any]]:
    """Tidy rows of one split from the scores of its queries.

    Args:
        described: metric, k, chance and majority of each row.
        split: its name.
        ids: str (n,), of the queries. The bootstrap draws from them in their order, so that it does not depend on the
            order of rows and comparisons are paired.
        scores: float (rows, n), the score of each query; None where there are none.
        seed: of the bootstrap.
        status: "ok", or why there are none.
    """
    if scores is None:
        value = low = high = np.full(len(described), np.nan)
    else:
        scores = scores[:, np.argsort(ids)]
        value, (low, high) = scores.mean(axis=1), intervals.interval(scores, seed)
    return [
        {
            "metric": row["metric"],
            "split": split,
            "k": row["k"],
            "value": float(value[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "n": len(ids),
            "chance": row["chance"],
            "majority": row["majority"],
            "status": status,
        }
        for i, row in enumerate(described)
    ]
