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

LIKE = "bigan"
TITLE = "adversarially learned inference"
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
DEFAULTS = {"learning_rate": 0.0001, "weight_decay": 0}  # the authors' rate for CIFAR-10
READINGS = {
    "probability_real": {"title": "D of pairs x, z of x"},
    "latent_spread": {"title": "Spread of mu(x), of the prior's", "ideal": None},  # sigma(x) has its part of it
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
