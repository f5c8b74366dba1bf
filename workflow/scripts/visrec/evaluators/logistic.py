"""Logistic regression: the other usual linear probe, beside the SVM.

L2-regularised, one-vs-rest, the bias regularised like the weights: the problem of scikit-learn's
`LogisticRegression(solver="liblinear")`, solved exactly by `visrec.scoring.linear_probe`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from visrec.data.embeddings import Embeddings
from visrec.evaluators import Score, _probe

CLASSES = 2  # in train, at least
OPTIONS = {
    "C": {
        "description": "Weights of the loss to choose from on val, for features standardised on train.",
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0},
        "minItems": 1,
        "uniqueItems": True,
        # Near the margin the logistic loss curves an eighth as much as the squared hinge: a decade more of C.
        "default": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    },
}


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int, device: torch.device) -> list[Score]:
    """See `_probe.evaluate`; nothing here is random."""
    return _probe.evaluate(embeddings, options["C"], "logistic", device)
