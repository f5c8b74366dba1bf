"""DCGAN (Radford et al., arXiv:1511.06434): what is embedded is the discriminator's body.

    L_D = -log D(x) - log(1 - D(g(z)))
    L_G = -log D(g(z))

means over a batch, one update each. D is the body and, as in the paper, one 4x4 convolution that makes the logit of the
last hidden map. So the game trains the hidden maps, which the paper embeds, too, and not the body's head: the output is
a fixed random projection of the last map. Real and generated images go through D in separate batches, as in the paper:
batch norm sees one kind at a time. z is uniform on the sphere, as AGE's; only its direction matters to a generator that
begins with batch norm.
"""

import torch
from torch import Tensor, nn

from visrec.encoders import _adversarial_losses as losses
from visrec.networks.bodies import build, unit
from visrec.training.method import Method, Setup
from visrec.training.readings import spread

TITLE = "discriminator of a convolutional GAN"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
PICTURES = ["samples"]
OPTIONS_OF = {"train": ["body", "training"], "embed": ["stack"]}
OPTIONS = {"train": {}}
# The paper's batch and rate, and as many pictures as AGE's recipe has (117,150 batches of 64).
DEFAULTS = {
    "iterations": 58575,
    "batch": 128,
    "learning_rate": 0.0002,
    "schedule": "halved",
    "average": 0.999,  # ours: docs/decisions/0025-an-average-of-the-game.md
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
# Spread is the standard deviation over images, averaged over pixels. Digits of one class (train, 32 px) have 0.53 to
# 0.89 times the spread of all, so with less than 0.5 there are fewer kinds of samples than of images.
READINGS = {
    "probability_real": {"title": "D of real images", "from_zero": True, "ideal": 0.5},
    "probability_fake": {"title": "D of fakes", "from_zero": True, "ideal": 0.5},
    "sample_spread": {
        "title": "Spread of samples, of real images'",
        "from_zero": True,
        "healthy": [0.5, None],
        "ideal": 1.0,
        "below": "samples are more alike than images of one class: the generator makes few kinds of them",
        "collapse_below": 0.01,
    },
    "loss_discriminator": {"title": "Discriminator's loss", "from_zero": True},
    "loss_generator": {"title": "Generator's loss", "from_zero": True},
}
BETAS = (0.5, 0.999)


class Training(Method):
    """A discriminator, the encoder's maps and a logit, and a generator against each other."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        options = setup.options
        self.encoder, self.generator = build(
            setup.size, options["latent"], options["architecture"], setup.seed, options["width"]
        )
        self.logit = nn.Conv2d(self.encoder.head.in_channels, 1, 4)
        nn.init.normal_(self.logit.weight, 0.0, 0.02)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam each."""
        return {
            "discriminator": self.adam(self.encoder.blocks, self.logit, betas=BETAS),
            "generator": self.adam(self.generator, betas=BETAS),
        }

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Latents (count, M), uniform on the sphere."""
        return unit(torch.randn(count, self.options["latent"], generator=random, device=random.device))

    def decode(self, z: Tensor) -> Tensor:
        """g(z): (B, M) -> (B, 3, S, S) in [-1, 1]."""
        return self.run(self.generator, z)

    def discriminate(self, images: Tensor) -> Tensor:
        """Logits (B,) of images (B, 3, S, S), positive for real ones."""
        return self.run(lambda x: self.logit(self.encoder.hidden(x)[-1]).flatten(), images)

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update of the discriminator, and one of the generator on the same fakes."""
        fake = self.decode(self.latents(len(images), self.random))
        of_real, of_fake = self.discriminate(images), self.discriminate(fake.detach())
        loss_discriminator = losses.discriminator(of_real, of_fake)
        self.update("discriminator", loss_discriminator)
        loss_generator = losses.deceiver(self.discriminate(fake))
        self.update("generator", loss_generator)
        return {
            "loss_discriminator": loss_discriminator,
            "loss_generator": loss_generator,
            "probability_real": losses.probability(of_real),
            "probability_fake": losses.probability(of_fake),
            "sample_spread": spread(fake, images),
        }
