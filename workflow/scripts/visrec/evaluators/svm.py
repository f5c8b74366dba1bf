"""Linear SVM: what a linear rule learnt on the training embeddings finds in them.

L2-regularised squared hinge loss, one-vs-rest: the problem of scikit-learn's `LinearSVC`, solved exactly by
`visrec.scoring.linear_probe`. Beside it stands the same with shuffled labels.
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
        "default": [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2],
    },
}


def evaluate(embeddings: Embeddings, options: Mapping[str, Any], seed: int, device: torch.device) -> list[Score]:
    """See `_probe.evaluate`; `seed` is that of the shuffle."""
    return _probe.evaluate(embeddings, options["C"], "squared_hinge", device, control_seed=seed)
