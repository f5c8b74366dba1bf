"""Labels in training: which of them a method sees, the same for every method, and the loss of a classifier."""

import hashlib

import numpy as np
from torch import Tensor
from torch.nn import functional as F

# Options of the encoders that declare LABELS, see `OPTIONS_OF` in docs/adding-an-encoder.md.
OPTIONS = {
    "label_share": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 1,
        "description": "Share of each class's training images whose labels are seen; one image of a class at least.",
    },
}


def shown(labels: np.ndarray, ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Labels of a share of the pictures of each class, -1 in the place of all others.

    Which pictures depends on seed and ids alone, so it is the same for all methods, and a smaller share is part of a
    larger one.

    Args:
        labels: int64 (N,), -1 = none.
        ids: str (N,).
        share: above 0, to 1.
        seed: the trial's.

    Returns:
        int64 (N,); of a class of n pictures max(1, round(share * n)) keep their label.
    """
    order = np.argsort([hashlib.sha256(f"{seed} {one}".encode()).hexdigest() for one in ids], kind="stable")
    found = np.full_like(labels, -1)
    for one in np.unique(labels[labels >= 0]):
        members = order[labels[order] == one]
        found[members[: max(1, round(share * len(members)))]] = one
    return found


def classification(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy, both means over the labelled pictures of a batch; 0 where there are none.

    Args:
        logits: float32 (B, C).
        labels: int64 (B,), -1 = none.
    """
    labelled = (labels >= 0).sum().clamp(min=1)
    loss = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / labelled
    return loss, (logits.argmax(dim=1) == labels).sum() / labelled
