"""The untrained AGE encoder: what the architecture alone is worth, without any training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.networks import build
from visrec.stack import extractor as stack_extractor

if TYPE_CHECKING:
    import torch

SIZES = [32, 64]
OPTIONS = {
    "embed": {
        "architecture": {
            "enum": ["dcgan", "reference"],
            "default": "dcgan",
            "description": "The untrained network's architecture.",
        },
        "latent": {"type": "integer", "minimum": 2, "default": 128, "description": "M, the length of its output."},
        "batchnorm": {
            "enum": ["running", "reestimated"],
            "default": "reestimated",
            "description": "Batch norm statistics: as initialised (0 and 1), or estimated on the training images.",
        },
        "pooling": {
            "enum": ["average", "max"],
            "default": "average",
            "description": "How the first two of the last three hidden maps are pooled to 1x1.",
        },
    }
}


def extractor(
    model: Path | None, images: np.ndarray, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S) -> {layer: float32 (B, D_layer)} of the encoder that training would start from."""
    encoder, _ = build(images.shape[-1], options["latent"], options["architecture"], seed)
    return stack_extractor(encoder, images, options["batchnorm"], options["pooling"], device)
