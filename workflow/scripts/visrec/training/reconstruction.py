"""Pictures found again: g(e(x)) of a method that is trained, or has been, and how far they are from x."""

import torch
from torch import Tensor

from visrec.training.method import Method

IMAGES = 64  # of val, whose reconstruction error is read during training


@torch.no_grad()
def reconstruct(method: Method, images: Tensor) -> Tensor:
    """Reconstructions float32 (B, 3, S, S) of images float32 (B, 3, S, S) in [-1, 1], one by one.

    All is in evaluation mode, so what becomes of a picture does not depend on those beside it. (The AGE authors' code
    gives the encoder's batch norm the statistics of the images at hand.) Nothing of the method changes.
    """
    training = method.training
    method.eval()
    try:
        return method.decode(method.run(method.encoder, images))
    finally:
        method.train(training)


def reconstruction_error(method: Method, images: Tensor) -> Tensor:
    """Mean absolute difference between images and their reconstructions, pixels in [-1, 1]: float32 (), 0 to 2."""
    return (reconstruct(method, images) - images).abs().mean()
