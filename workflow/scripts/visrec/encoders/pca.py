"""Principal components of the pixels: the cheapest embedding that learns anything from the images."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.files import atomic
from visrec.data.images import ImageFile
from visrec.data.models import packed, read_weights
from visrec.encoders.pixels import values
from visrec.errors import UserError

if TYPE_CHECKING:
    import torch

TITLE = "principal components of the pixels"
STAGE = "fit"
OPTIONS = {
    "fit": {
        "components": {
            "type": "integer",
            "minimum": 1,
            "at_most": ["others", "values"],
            "default": 128,
            "description": "Number of principal components: fewer than training images, at most the pixel values; by "
            "default as many of 128 as there can be.",
        }
    }
}
TEST = {"components": 5}


def fit(images: np.ndarray, options: Mapping[str, Any], seed: int, model: Path) -> None:
    """Fit the components on training images uint8 (N, 3, S, S) and write them.

    Raises:
        UserError: more components than images or pixel values.
    """
    from sklearn.decomposition import PCA  # seconds: to embed needs none of it

    pixels = values(images)
    most = min(pixels.shape[0] - 1, pixels.shape[1])
    if options["components"] > most:
        raise UserError(
            f"pca: {options['components']} components of {pixels.shape[0]} images with {pixels.shape[1]} values; "
            + (f"set `components` to {most} or less" if most else "it needs two images")
        )
    pca = PCA(options["components"], random_state=seed).fit(pixels)
    with atomic(model) as temporary:
        weights = {"mean": pca.mean_, "components": np.ascontiguousarray(pca.components_)}
        temporary.write_bytes(packed(weights))


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {"components": float32 (B, components)}.

    Raises:
        UserError: the model is missing, damaged or of another encoder.
    """
    weights = read_weights(model)
    if weights.keys() != {"mean", "components"}:
        raise UserError(f"{model}: is no model of pca; delete it and run again")
    mean, components = weights["mean"], weights["components"]
    return lambda images, ids: {"components": (values(images) - mean) @ components.T}
