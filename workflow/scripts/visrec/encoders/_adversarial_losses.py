"""What discriminators and those who deceive them minimise, of logits l = log D / (1 - D).

-log D = softplus(-l) and -log(1 - D) = softplus(l), so no logarithm meets a 0.
"""

from torch import Tensor
from torch.nn import functional as F


def discriminator(first: Tensor, second: Tensor) -> Tensor:
    """-mean log D(first) - mean log(1 - D(second)), of logits (B,) each: cross-entropy of the two labels, summed.

    Goodfellow et al., arXiv:1406.2661. At D = 1/2 everywhere it is 2 log 2 = 1.386.
    """
    return deceiver(first) + F.softplus(second).mean()


def deceiver(logits: Tensor) -> Tensor:
    """-mean log D, of logits (B,): the generator's non-saturating loss (arXiv:1406.2661, section 3).

    log(1 - D), the game's own, has no slope where the discriminator is sure, and that is how trainings begin.
    """
    return F.softplus(-logits).mean()


def swapped(first: Tensor, second: Tensor) -> Tensor:
    """The discriminator's loss with its labels swapped (BiGAN, arXiv:1605.09782, section 3.4)."""
    return discriminator(second, first)


def probability(logits: Tensor) -> Tensor:
    """The mean of D, of logits (B,)."""
    return logits.sigmoid().mean()
