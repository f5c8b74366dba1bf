"""ALI (Dumoulin et al., arXiv:1606.00704): BiGAN's game with an encoder that draws, and dropout in the discriminator.

    z = mu(x) + sigma(x) eps,    eps ~ N(0, I),    prior N(0, I)

The game and its losses are those of `visrec.encoders._pair_game`. mu is the body's head, not brought to the sphere, and
is what is embedded and decoded; sigma has a head of its own (`visrec.networks.gaussian`).
"""

import torch
from torch import Tensor

from visrec.encoders._pair_game import PairGame
from visrec.networks.gaussian import GaussianEncoder, sample
from visrec.training.method import Setup

STAGE = "train"
SIZES = [32, 64]
ATLAS = True
PICTURES = ["samples", "reconstructions"]
OPTIONS_OF = {"train": ["body", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
        "dropout": {
            "type": "number",
            "minimum": 0,
            "maximum": 0.9,
            "default": 0.2,
            "description": "Share of values that each fully connected layer of the discriminator does not see.",
        },
    },
}
# The authors' rate for CIFAR-10, and as many pictures as AGE's recipe has (117,150 batches of 64).
DEFAULTS = {"iterations": 58575, "batch": 128, "learning_rate": 0.0001, "schedule": "halved"}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
# Spread is the standard deviation over images, averaged over pixels. Digits of one class (train, 32 px) have 0.53 to
# 0.89 times the spread of all, so with less than 0.5 there are fewer kinds of samples than of images.
READINGS = {
    "probability_real": {"title": "D of pairs x, z of x", "from_zero": True, "ideal": 0.5},
    "probability_fake": {"title": "D of pairs g(z), z", "from_zero": True, "ideal": 0.5},
    "sample_spread": {
        "title": "Spread of samples, of real images'",
        "from_zero": True,
        "healthy": [0.5, None],
        "ideal": 1.0,
        "below": "samples are more alike than images of one class: the generator makes few kinds of them",
        "collapse_below": 0.01,
    },
    "latent_spread": {
        "title": "Spread of mu(x), of the prior's",
        "from_zero": True,
        "collapse_below": 0.01,
    },
    "loss_critic": {"title": "Discriminator's loss", "from_zero": True},
    "loss_pair": {"title": "Encoder's and generator's loss", "from_zero": True},
}


class Training(PairGame):
    """A stochastic encoder and a generator, against a discriminator of pairs with dropout."""

    def __init__(self, setup: Setup):
        super().__init__(setup, setup.options["dropout"])
        self.encoder = GaussianEncoder(self.encoder)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A draw z of x, and mu(x): (B, M) each."""
        mean, log_variance = self.run(self.encoder.posterior, images)
        return sample(mean, log_variance, self.random), mean

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Latents (count, M) of N(0, I)."""
        return torch.randn(count, self.options["latent"], generator=random, device=random.device)
