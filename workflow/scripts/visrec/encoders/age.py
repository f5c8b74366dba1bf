"""The Adversarial Generator-Encoder's encoder: trained without labels, embedded through all its hidden layers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch

from visrec.data.images import ImageFile, read_image_info
from visrec.networks import stack
from visrec.networks.bodies import build
from visrec.training import loop as training

if TYPE_CHECKING:
    import torch

    from visrec.training.checkpoint import Checkpoints

STAGE = "train"
SIZES = [32, 64]
ATLAS = True
HEADLINE = ["lambda_z", "mu_x"]
OPTIONS = {
    "train": {
        "lambda_z": {
            "type": "number",
            "minimum": 0,
            "default": 1000,
            "description": "Weight of the latent match in the generator's loss (the papers' lambda).",
        },
        "mu_x": {
            "type": "number",
            "minimum": 0,
            "default": 10,
            "description": "Weight of the pixel match in the encoder's loss (the papers' mu).",
        },
        "iterations": {
            "type": "integer",
            "minimum": 1,
            "default": 117150,
            "description": "Updates of the encoder; the authors' CIFAR-10 recipe is 150 epochs of 781 batches.",
        },
        "batch": {"type": "integer", "minimum": 2, "default": 64, "description": "Images per batch."},
        "generator_steps": {
            "type": "integer",
            "minimum": 1,
            "default": 2,
            "description": "n_g, updates of the generator per update of the encoder.",
        },
        "latent": {"type": "integer", "minimum": 2, "default": 128, "description": "M, the length of the latent."},
        "architecture": {
            "enum": ["dcgan", "reference"],
            "default": "dcgan",
            "description": "Encoder and generator mirror each other, or the AGE authors' tables.",
        },
        "kl": {
            "enum": ["reference", "exact"],
            "default": "reference",
            "description": "The AGE authors' divergence, or the exact one brought to its scale by 2/M.",
        },
        "pixel_match": {
            "enum": ["l1", "l2"],
            "default": "l1",
            "description": "Mean absolute or mean squared difference of pixels in [-1, 1].",
        },
        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "default": 0.0002, "description": "Of both Adams."},
        "halve_every": {
            "type": "integer",
            "minimum": 0,
            "default": 31240,
            "description": "Iterations after which the learning rate halves, again and again; 0 keeps it.",
        },
        "precision": {
            "enum": ["auto", "fp32", "bf16"],
            "default": "auto",
            "description": "Arithmetic of the networks; auto is bf16 where the hardware multiplies matrices in it.",
        },
    },
    "embed": {
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
    },
}


def train(
    images: np.ndarray,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    files: Mapping[str, Path],
    checkpoints: "Checkpoints",
    tensorboard: Path | None = None,
) -> None:
    """Train on images uint8 (N, 3, S, S); see `visrec.training.loop.train`."""
    training.train(images, options, seed, device, training.TrainingFiles(**files), checkpoints, tensorboard)


def maps(
    model: Path | None,
    source: ImageFile,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    batchnorm: str,
) -> Callable[[np.ndarray], dict[str, "torch.Tensor"]]:
    """A function uint8 (B, 3, S, S) -> every map of the trained encoder, see `visrec.networks.stack.feature_maps`."""
    encoder, _ = build(read_image_info(source.path).size, options["latent"], options["architecture"], seed)
    encoder.load_state_dict(safetensors.torch.load_file(model))
    return stack.feature_maps(encoder, source, batchnorm, device)


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {layer: float32 (B, D_layer)} of the trained encoder."""
    return stack.extractor(maps(model, source, options, seed, device, options["batchnorm"]), options["pooling"])
