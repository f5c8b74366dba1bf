"""A training small enough for tests, for several of them."""

from pathlib import Path

import numpy as np
import torch

from visrec.encoders.age import READINGS, Training
from visrec.training.checkpoint import Checkpoints
from visrec.training.loop import Data, TrainingFiles, train
from visrec.training.method import Setup

CPU = torch.device("cpu")
WIDTH = 16  # of networks that are trained for the sake of all but their values: a sixteenth of the work
OPTIONS = {
    "lambda_z": 1000,
    "mu_x": 10,
    "iterations": 3,
    "batch": 8,
    "generator_steps": 2,
    "latent": 16,
    "architecture": "dcgan",
    "width": 1,
    "kl": "reference",
    "pixel_match": "l1",
    "balance": "none",  # so that all terms of the game weigh from the start
    "balance_ceiling": 1.05,
    "learning_rate": 2e-4,
    "schedule": "halved",
    "halve_every": 0,
    "weight_decay": 0,
    "average": 0.5,
    "precision": "fp32",
}


def pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def files(folder: Path) -> TrainingFiles:
    return TrainingFiles(folder / "model.safetensors", folder / "history.csv", folder / "status.json")


def run(folder: Path, images: np.ndarray | None = None, seed: int = 0, save_every: int = 1000, **options) -> None:
    """Train AGE in a folder, with other options than OPTIONS' where given."""
    folder.mkdir(exist_ok=True)
    options = OPTIONS | options
    checkpoints = Checkpoints(folder / "checkpoints", {"options": options, "seed": seed}, save_every, minutes=60)
    images = pictures(20) if images is None else images
    train(Training, Setup(options, 32, seed, CPU), Data(images), READINGS, files(folder), checkpoints)
