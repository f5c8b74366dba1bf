"""Pictures of a trained model: samples, and images beside their reconstructions."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from visrec.data.files import atomic
from visrec.data.images import ImageFile, read_image_info
from visrec.experiment.trials import Spec
from visrec.networks.stack import to_unit_range
from visrec.training import models
from visrec.training.method import Method
from visrec.training.reconstruction import reconstruct

PICTURES = 32  # images in a picture of reconstructions; one of samples has as many pictures in all, 64
COLUMNS = 16
LATENTS_SEED = 0  # the same latents for every trial


def draw(
    picture: str, spec: Spec, model: str | Path, images: str | Path, device: torch.device, out: str | Path
) -> None:
    """Draw one kind of picture of a trained model as PNG.

    Networks that are not finite are drawn black, so that a diverged training has its picture, too.

    Args:
        picture: "samples" or "reconstructions", see the literal PICTURES of the encoder.
        spec: what made the model.
        model: model.safetensors.
        images: images.h5.
        device: where to compute.
        out: PNG file to write.

    Raises:
        UserError: a file is missing or damaged.
    """
    method = models.load(spec, model, read_image_info(images), device)
    drawn = samples(method) if picture == "samples" else reconstructions(method, ImageFile(images).images("train"))
    grid = make_grid(drawn.nan_to_num(-1).clamp(-1, 1), COLUMNS, padding=2, pad_value=1)
    with atomic(out) as temporary:
        save_image((grid + 1) / 2, temporary, format="png")


@torch.no_grad()
def samples(method: Method) -> Tensor:
    """Pictures decoded from random latents, float32 (2 * PICTURES, 3, S, S)."""
    random = torch.Generator().manual_seed(LATENTS_SEED)  # of the CPU: the same latents on every device
    return method.decode(method.latents(2 * PICTURES, random).to(method.device))


def reconstructions(method: Method, images: np.ndarray) -> Tensor:
    """Images, each followed by its reconstruction, float32 (2 * min(PICTURES, N), 3, S, S).

    Args:
        method: with `decode`.
        images: uint8 (N, 3, S, S), of which some are taken, spread over all.
    """
    rows = np.linspace(0, len(images) - 1, min(PICTURES, len(images)), dtype=int)
    real = to_unit_range(torch.from_numpy(images[rows]).to(method.device))
    return torch.stack([real, reconstruct(method, real)], dim=1).flatten(0, 1)
