"""Pictures found again: g(e(x)) of a method that is trained, or has been, and how far they are from x."""

import torch
from torch import Tensor, nn

from visrec.training.method import Method

IMAGES = 64  # of val, whose reconstruction error is read during training


@torch.no_grad()
def reconstruct(method: Method, images: Tensor) -> Tensor:
    """Reconstructions float32 (B, 3, S, S) of images float32 (B, 3, S, S) in [-1, 1].

    As in the AGE authors' code, the encoder's batch norm takes the statistics of these images; all else is in
    evaluation mode. Nothing of the method changes: modes and running statistics are put back.
    """
    training = method.training
    norms = [module for module in method.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    method.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        return method.decode(method.run(method.encoder, images))
    finally:
        for norm in norms:
            norm.track_running_stats = True
        method.train(training)


def reconstruction_error(method: Method, images: Tensor) -> Tensor:
    """Mean absolute difference between images and their reconstructions, pixels in [-1, 1]: float32 (), 0 to 2."""
    return (reconstruct(method, images) - images).abs().mean()
