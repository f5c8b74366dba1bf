"""Linear SVM: how well a linear rule learnt on the training embeddings names the class of others.

Features are standardised on train (which gives C its meaning), C is chosen by accuracy on val, and test is read once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from visrec import linear_svm, metrics
from visrec.errors import UserError
from visrec.evaluators import class_counts, score_rows
from visrec.store import SPLITS, Embeddings

OPTIONS = {
    "C": {
        "description": "Weights of the loss to choose from on val, for features standardised on train.",
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0},
        "minItems": 1,
        "uniqueItems": True,
        "default": [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2],
    },
}
NOT_CONVERGED = "not converged"
ROWS = 4096  # rows standardised at once


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Rows of `accuracy` on each split, and one of `chosen_C` whose value is C (smallest of the best on val).

    If the solver did not converge at that C, status is "not converged" and no value is given.

    Args:
        embeddings: with labels.
        options: `OPTIONS`.
        seed: of the bootstrap.

    Raises:
        UserError: labels are missing, or train has one class only.
    """
    counts = class_counts(embeddings)
    if np.count_nonzero(counts["train"]) < 2:
        raise UserError("svm: the training images are all of one class; at least two are needed")
    status, correct, chosen = embeddings.status, {}, float("nan")
    if status == "ok":
        scaler, solution = _fit(embeddings, options["C"])
        if solution.converged:
            chosen = solution.C
            correct = {split: _correct(embeddings, split, scaler, solution)[None] for split in SPLITS}
        else:
            status = NOT_CONVERGED
    rows = []
    for split in SPLITS:
        described = {
            "metric": "accuracy",
            "k": None,
            "chance": 1 / len(embeddings.classes),
            "majority": metrics.majority(counts["train"], counts[split]),
        }
        rows += score_rows([described], split, embeddings.splits[split].ids, correct.get(split), seed, status)
    described = {"metric": "chosen_C", "k": None, "chance": None, "majority": None}
    (row,) = score_rows([described], "val", embeddings.splits["val"].ids, None, seed, status)
    return [*rows, row | {"value": chosen}]


def _fit(embeddings: Embeddings, C_grid: list[float]) -> tuple[StandardScaler, linear_svm.Solution]:
    """Standardisation of train and the solution that is best on val; never looks at test."""
    train = embeddings.splits["train"]
    scaler = StandardScaler()
    for start in range(0, len(train.features), ROWS):  # in parts: `fit` makes a float64 copy
        scaler.partial_fit(train.features[start : start + ROWS])
    solutions = linear_svm.fit(scaler.transform(train.features), train.labels, C_grid, np.unique(train.labels))
    accuracies = [_correct(embeddings, "val", scaler, solution).mean() for solution in solutions]
    return scaler, solutions[int(np.argmax(accuracies))]  # ascending in C: the first of equals is the smallest


def _correct(embeddings: Embeddings, split: str, scaler: StandardScaler, solution: linear_svm.Solution) -> np.ndarray:
    """Whether each image of a split is predicted right, float64 (N,)."""
    part = embeddings.splits[split]
    blocks = (slice(start, start + ROWS) for start in range(0, len(part.features), ROWS))
    predicted = [solution.predict(scaler.transform(part.features[block])) for block in blocks]
    return (np.concatenate(predicted) == part.labels).astype(float)
