"""Made-up pictures."""

import numpy as np
import torch
from torch.nn import functional as F


def pictures(count, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def smooth(count, seed=0, size=32):
    """Blurred noise: pictures with structure at both levels."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 3, 8, 8))
    grown = F.interpolate(torch.from_numpy(coarse), size, mode="bicubic")
    return grown.round().clamp(0, 255).to(torch.uint8).numpy()
