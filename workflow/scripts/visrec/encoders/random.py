"""The untrained network: what the architecture alone is worth, before any training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.images import ImageFile, read_image_info
from visrec.networks import stack
from visrec.networks.any_body import build_encoder

if TYPE_CHECKING:
    import torch

TITLE = "untrained network"
SIZES = [32, 64]
ATLAS = True
OPTIONS_OF = {"embed": ["any_body", "stack"]}
OPTIONS: dict = {}


def maps(
    model: Path | None,
    source: ImageFile,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    batchnorm: str,
) -> Callable[[np.ndarray], dict[str, "torch.Tensor"]]:
    """A function uint8 (B, 3, S, S) -> every map of the encoder that training would start from.

    See `visrec.networks.stack.feature_maps`.
    """
    size = read_image_info(source.path).size
    encoder = build_encoder(size, options["latent"], options["architecture"], seed, options["width"])
    return stack.feature_maps(encoder, source, batchnorm, device)


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {layer: float32 (B, D_layer)} of the untrained encoder."""
    return stack.extractor(maps(model, source, options, seed, device, options["batchnorm"]), options["pooling"])
