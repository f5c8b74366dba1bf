"""Raw pixels: the picture is its own embedding. An encoder like any other, so that the comparison is symmetric."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.images import ImageFile

if TYPE_CHECKING:
    import torch

TITLE = "the picture as it is"
SEEDED = False
OPTIONS: dict[str, Any] = {}


def extractor(
    model: Path | None, source: ImageFile, options: Mapping[str, Any], seed: int, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {"pixels": float32 (B, 3 * S * S) in [0, 1]}."""
    return lambda images, ids: {"pixels": values(images)}


def values(images: np.ndarray) -> np.ndarray:
    """uint8 (N, 3, S, S) -> float32 (N, 3 * S * S) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
