"""From a trained or untrained encoder to the vectors that are compared: hidden layers and output, stacked.

The seed paper's 4416 values at 32 px are the last three hidden maps and the output, the first two maps pooled to 1x1
and the third flattened: 64 + 128 + 256*4*4 + 128. At 64 px the same rule gives 128 + 256 + 512*4*4 + 128 = 8704, as it
does at both sizes with ResNet-18.
Kept apart from training, so that a change of stacking embeds again and does not train again.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visrec.data.images import ImageFile

# Options of the encoders that embed a stack of layers, see `OPTIONS_OF` in docs/adding-an-encoder.md.
OPTIONS = {
    "batchnorm": {
        "enum": ["running", "reestimated"],
        "default": "reestimated",
        "description": "Batch norm statistics as training left them, or re-estimated on the training images.",
    },
    "pooling": {
        "enum": ["average", "max"],
        "default": "average",
        "description": "How the first two of the last three hidden maps are pooled to 1x1.",
    },
}
BATCH = 256
GRID = 4

# Each makes vectors (B, D) of maps (B, C, H, W); "flatten" leaves the output (B, M) as it is.
POOLING: dict[str, Callable[[Tensor], Tensor]] = {
    "flatten": lambda maps: maps.flatten(1),
    "average": lambda maps: maps.mean(dim=(2, 3)),
    "max": lambda maps: maps.amax(dim=(2, 3)),
    "grid": lambda maps: F.adaptive_avg_pool2d(maps, GRID).flatten(1),
}


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) -> float32 in [-1, 1], channels last: x / 127.5 - 1."""
    return images.to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1


def members(layers: Sequence[str], pooling: str) -> dict[str, str]:
    """The layers of the stack and how each is pooled, in stacking order: {layer: a key of `POOLING`}.

    Args:
        layers: names of all hidden layers, first to last, and of the output.
        pooling: for the first two of the last three hidden layers.
    """
    *hidden, output = layers
    *pooled, last = hidden[-3:]
    return dict.fromkeys(pooled, pooling) | {last: "flatten", output: "flatten"}


def stack(maps: Mapping[str, Tensor], pooling: str) -> dict[str, Tensor]:
    """The layers of the stack, in order, each (B, D_layer).

    Args:
        maps: all hidden maps (B, C, H, W), first to last, and the output (B, M), see `feature_maps`.
        pooling: "average" or "max", for the first two of the last three hidden maps.
    """
    return {layer: POOLING[how](maps[layer]) for layer, how in members([*maps], pooling).items()}


@torch.no_grad()
def reestimate_batchnorm(encoder: nn.Module, images: Tensor) -> None:
    """Replace the running statistics by averages over real images, uint8 (N, 3, S, S), in equal-weight batches.

    In training every real batch is followed by 1 + n_g generated ones, so the running statistics are about 79 %
    (n_g = 2) of generated images, and evaluation mode would see real images through them.
    """
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches, not an exponential one
    encoder.train()
    for batch in images.split(BATCH):
        if len(batch) == BATCH or len(images) < BATCH:  # a small last batch would count as much as a full one
            encoder(to_unit_range(batch))
    encoder.eval()


def feature_maps(
    encoder: nn.Module, source: ImageFile, batchnorm: str, device: torch.device
) -> Callable[[np.ndarray], dict[str, Tensor]]:
    """A function that gives every map of a batch of images in one pass, in float32 and evaluation mode.

    Args:
        encoder: the network, with `hidden` and `latent`.
        source: its training images are read only when statistics are re-estimated.
        batchnorm: "running" (as training left them) or "reestimated" (on the training images).
        device: where to compute.

    Returns:
        uint8 (B, 3, S, S) -> {"hidden1": (B, C, H, W), "hidden2": ..., "output": (B, M)}, float32 on the device.
    """
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()
    if batchnorm == "reestimated":
        reestimate_batchnorm(encoder, torch.from_numpy(source.images("train")).to(device))

    @torch.no_grad()
    def maps(images: np.ndarray) -> dict[str, Tensor]:
        hidden = encoder.hidden(to_unit_range(torch.from_numpy(images).to(device)))
        named = {f"hidden{i}": each for i, each in enumerate(hidden, start=1)}
        return named | {"output": encoder.latent(hidden[-1])}

    return maps


def extractor(
    maps: Callable[[np.ndarray], Mapping[str, Tensor]], pooling: str
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function that embeds a batch of images as the stack of their maps.

    Args:
        maps: what `feature_maps` returns.
        pooling: "average" or "max".

    Returns:
        uint8 (B, 3, S, S) and their ids -> {layer name: float32 (B, D_layer)}, in stacking order.
    """

    def embed(images: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
        return {layer: features.cpu().numpy() for layer, features in stack(maps(images), pooling).items()}

    return embed
