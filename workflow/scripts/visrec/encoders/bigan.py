"""BiGAN (Donahue et al., arXiv:1605.09782): an encoder that learns, in a generator's game, to invert the generator.

The game and its losses are those of `visrec.encoders._pair_game`. The paper draws z uniformly from [-1, 1]^50; here
encoder and generator are AGE's pair, so z is uniform on the unit sphere, where e(x) lies, too. The paper's weight decay
of 2.5e-5 is added to the gradient; decoupled, as that of every encoder here, it takes 0.03 % off the weights in a whole
training. The authors' rate stays for half the training and then falls to a hundredth; here it stays.
"""

import torch
from torch import Tensor

from visrec.encoders._pair_game import PairGame
from visrec.networks.bodies import unit

TITLE = "bidirectional GAN"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
PICTURES = ["samples", "reconstructions"]
OPTIONS_OF = {"train": ["body", "training"], "embed": ["stack"]}
OPTIONS = {"train": {}}
# The paper's rate at its start, and its decay; as many pictures as AGE's recipe has (117,150 batches of 64).
DEFAULTS = {
    "iterations": 58575,
    "batch": 128,
    "learning_rate": 0.0002,
    "schedule": "halved",
    "weight_decay": 0.000025,
    "average": 0.999,  # ours: docs/decisions/0025-an-average-of-the-game.md
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
# Spread is the standard deviation over images, averaged over pixels. Digits of one class (train, 32 px) have 0.53 to
# 0.89 times the spread of all, so with less than 0.5 there are fewer kinds of samples than of images.
READINGS = {
    "probability_real": {"title": "D of pairs x, e(x)", "from_zero": True, "ideal": 0.5},
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
        "title": "Spread of e(x), of the sphere's",
        "from_zero": True,
        "ideal": 1.0,
        "collapse_below": 0.01,
    },
    "loss_critic": {"title": "Discriminator's loss", "from_zero": True},
    "loss_pair": {"title": "Encoder's and generator's loss", "from_zero": True},
}


class Training(PairGame):
    """An encoder and a generator, against a discriminator of pairs."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """e(x), (B, M) on the sphere, for both."""
        encoded = self.run(self.encoder, images)
        return encoded, encoded

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Latents (count, M), uniform on the sphere."""
        return unit(torch.randn(count, self.options["latent"], generator=random, device=random.device))
