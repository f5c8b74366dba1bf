"""Which layer of a stack is how wide, and which dominates the distance.

A small table beside each embeddings.h5, so that nobody has to keep the embeddings to know it.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from visrec.data.embeddings import layers_of
from visrec.data.files import atomic
from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.scoring.moments import moments

COLUMNS = ["layer", "start", "stop", "dimensions", "share_of_dimensions", "share_of_distance"]


def write(embeddings: str | Path, out: str | Path) -> None:
    """Write `rows` of an embeddings.h5 as CSV; only the header when training failed.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with atomic(out) as temporary:
        pd.DataFrame(rows(embeddings), columns=COLUMNS).to_csv(temporary, index=False)


def rows(embeddings: str | Path) -> list[dict[str, Any]]:
    """One row per layer of an embeddings.h5: its columns, and its share of the dimensions and of the distance.

    share_of_distance is the layer's share of the mean squared L2 distance between train images. That mean is twice the
    sum of the features' variances, so the share is the layer's share of the total variance.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    with reading(embeddings, EMBEDDINGS) as file:
        layers = layers_of(file)
        # One layer is all of the distance; its features need not be read.
        variances = moments(file["train/features"])[1] if len(layers) > 1 else None
    total = sum(part.stop - part.start for part in layers.values())
    found = []
    for layer, part in layers.items():
        share = 1.0
        if variances is not None:
            whole = variances.sum()
            share = float(variances[part].sum() / whole) if whole > 0 else math.nan
        width = part.stop - part.start
        found.append(
            {
                "layer": layer,
                "start": part.start,
                "stop": part.stop,
                "dimensions": width,
                "share_of_dimensions": width / total,
                "share_of_distance": share,
            }
        )
    return found
