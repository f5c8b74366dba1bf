"""Batches of real images for every iteration of a training."""

import numpy as np
import torch
from torch import Tensor

from visrec.networks.stack import to_unit_range


class Batches:
    """Batches for every iteration from 1: a new random order per epoch, its last part dropped.

    The order of an epoch follows from the seed and its number alone, so a training that goes on needs no memory of it.

    Args:
        images: uint8 (N, 3, S, S), on the device of the training.
        labels: int64 (N,) there, or None.
        batch: B, at most N.
        seed: of the orders.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, batch: int, seed: int):
        self.images, self.labels, self.batch, self.seed = images, labels, batch, seed
        self.per_epoch = len(images) // batch
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor | None]:
        """The batch of an iteration: images float32 (B, 3, S, S) in [-1, 1], and labels int64 (B,) if there are any."""
        epoch, position = divmod(iteration - 1, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
            self._epoch, self._order = epoch, torch.from_numpy(order).to(self.images.device)
        rows = self._order[position * self.batch :][: self.batch]
        return to_unit_range(self.images[rows]), None if self.labels is None else self.labels[rows]
