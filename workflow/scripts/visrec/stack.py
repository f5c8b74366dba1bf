"""From a trained or untrained encoder to the vectors that are compared: hidden layers and output, stacked.

The seed paper's 4416 values at 32 px are the last three hidden maps and the output, the first two maps pooled to 1x1
and the third flattened: 64 + 128 + 256*4*4 + 128. At 64 px the same rule gives 128 + 256 + 512*4*4 + 128 = 8704.
Kept apart from training, so that a change of stacking embeds again and does not train again.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from visrec.networks import Encoder

BATCH = 256

POOLING: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda maps: maps.mean(dim=(2, 3)),
    "max": lambda maps: maps.amax(dim=(2, 3)),
}


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) -> float32 in [-1, 1], channels last: x / 127.5 - 1."""
    return images.to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1


def stack(maps: list[Tensor], output: Tensor, pooling: str) -> dict[str, Tensor]:
    """The layers of the stack, in order, each (B, D_layer).

    Args:
        maps: all hidden maps (B, C, H, W), first to last; the last three are used.
        output: (B, M).
        pooling: "average" or "max", for the first two of the three.
    """
    *pooled, last = maps[-3:]
    first = len(maps) - 2
    layers = {f"hidden{first + i}": POOLING[pooling](each) for i, each in enumerate(pooled)}
    return layers | {f"hidden{len(maps)}": last.flatten(1), "output": output}


@torch.no_grad()
def reestimate_batchnorm(encoder: Encoder, images: Tensor) -> None:
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


def extractor(
    encoder: Encoder, images: np.ndarray, batchnorm: str, pooling: str, device: torch.device
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function that embeds a batch of images in one pass, in float32 and evaluation mode.

    Args:
        encoder: the network.
        images: uint8 (N, 3, S, S), the training images; used only when statistics are re-estimated.
        batchnorm: "running" (as training left them) or "reestimated" (on `images`).
        pooling: "average" or "max".
        device: where to compute.

    Returns:
        uint8 (B, 3, S, S) -> {layer name: float32 (B, D_layer)}, in stacking order.
    """
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()
    if batchnorm == "reestimated":
        reestimate_batchnorm(encoder, torch.from_numpy(images).to(device))

    @torch.no_grad()
    def embed(batch: np.ndarray) -> dict[str, np.ndarray]:
        maps = encoder.hidden(to_unit_range(torch.from_numpy(batch).to(device)))
        layers = stack(maps, encoder.latent(maps[-1]), pooling)
        return {name: features.cpu().numpy() for name, features in layers.items()}

    return embed
