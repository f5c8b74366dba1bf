"""k-NN: how many of the most similar training images have the query's class, and whether they vote for it.

Exact L2 neighbours. Queries of train are searched in train without themselves, dropped by id (leave-one-out); queries
of val and test in train. Rows at exactly the same distance count with their expected value under random order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from visrec import metrics, neighbours
from visrec.errors import UserError
from visrec.evaluators import class_counts, score_rows
from visrec.store import SPLITS, Embeddings

OPTIONS = {
    "k": {
        "description": "Numbers of neighbours to score.",
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "minItems": 1,
        "uniqueItems": True,
        "default": [1, 3, 5, 10],
    },
}
HEADLINE_K = 3  # the seed paper's


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Score each split at each k.

    Metrics:
        precision               share of the k nearest that have the query's class
        accuracy                probability that a plain vote of the k nearest names the query's class
        precision_self_counted  train only: the seed paper's protocol, in which the query is its own first neighbour

    Args:
        embeddings: with labels.
        options: `OPTIONS`.
        seed: of the bootstrap.

    Raises:
        UserError: labels are missing, or train has too few images for the greatest k.
    """
    counts = class_counts(embeddings)
    ks = sorted(options["k"])
    if ks[-1] >= len(embeddings.splits["train"].ids):
        raise UserError(f"knn: k = {ks[-1]} needs more than {ks[-1]} training images; choose a smaller k")
    rows = []
    for split in SPLITS:
        leave_one_out = split == "train"
        chance = metrics.chance_precision(counts[split], counts["train"], leave_one_out)
        majority = metrics.majority(counts["train"], counts[split])
        described = [{"metric": "precision", "k": k, "chance": chance, "majority": None} for k in ks]
        for k in ks:
            chance_accuracy = metrics.chance_accuracy(counts[split], counts["train"], k, leave_one_out)
            described.append({"metric": "accuracy", "k": k, "chance": chance_accuracy, "majority": majority})
        if leave_one_out:
            for k in ks:
                with_self = metrics.self_counted(chance, k)
                described.append({"metric": "precision_self_counted", "k": k, "chance": with_self, "majority": None})
        scores = None
        if embeddings.status == "ok":
            precision, accuracy = _scores(embeddings, split, ks)
            scores = [*(precision[k] for k in ks), *(accuracy[k] for k in ks)]
            if leave_one_out:
                scores += [metrics.self_counted(precision[k - 1], k) for k in ks]
            scores = np.stack(scores)
        rows += score_rows(described, split, embeddings.splits[split].ids, scores, seed, embeddings.status)
    return rows


def _scores(embeddings: Embeddings, split: str, ks: list[int]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Precision and accuracy of each query, by k; precision also at k - 1 (0 where that is 0)."""
    queries, gallery = embeddings.splits[split], embeddings.splits["train"]
    row_of = {image: row for row, image in enumerate(gallery.ids)}
    own = np.array([row_of.get(image, -1) for image in queries.ids])
    n, classes = len(queries.ids), len(embeddings.classes)
    precision = {k: np.zeros(n) for k in {*ks, *(k - 1 for k in ks)}}
    accuracy = {k: np.zeros(n) for k in ks}
    for tile, found in neighbours.tiles(queries.features, gallery.features, ks[-1], own):
        for k in precision.keys() - {0}:
            counted = *found.count(gallery.labels, classes, k), queries.labels[tile], k
            precision[k][tile] = metrics.expected_precision(*counted)
            if k in accuracy:
                accuracy[k][tile] = metrics.expected_accuracy(*counted)
    return precision, accuracy
