"""Which training pictures' labels a method sees: all of them, or the same few for every method."""

import hashlib

import numpy as np

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
