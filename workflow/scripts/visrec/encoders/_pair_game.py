"""The game that BiGAN and ALI share: an encoder and a generator against a discriminator of pairs.

    L_D  = -log D(x, e(x)) - log(1 - D(g(z), z))
    L_EG = -log(1 - D(x, e(x))) - log D(g(z), z)

means over a batch, one update each; the encoder and the generator are one player and have one optimiser. Where no
discriminator can tell the pairs apart, the joint laws of (x, e(x)) and (g(z), z) are equal, so each inverts the other.
The two kinds of pairs go through D in separate batches.
"""

import torch
from torch import Tensor

from visrec.encoders import _adversarial_losses as losses
from visrec.networks.bodies import build
from visrec.networks.critic import Critic
from visrec.training.method import Method, Setup
from visrec.training.readings import spread

BETAS = (0.5, 0.999)


class PairGame(Method):
    """Networks and step; a method says how it encodes and which latents it draws.

    Args:
        setup: of the method.
        dropout: of the discriminator, see `visrec.networks.critic`.
    """

    def __init__(self, setup: Setup, dropout: float = 0.0):
        super().__init__(setup)
        latent, architecture, width = (setup.options[name] for name in ("latent", "architecture", "width"))
        self.encoder, self.generator = build(setup.size, latent, architecture, setup.seed, width)
        self.critic = Critic(setup.size, latent, architecture, dropout, width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The latents (B, M) that stand beside real images in a pair, and the encoder's output (B, M)."""
        raise NotImplementedError

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Latents (count, M) of the prior."""
        raise NotImplementedError

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam for each player."""
        return {
            "critic": self.adam(self.critic, betas=BETAS),
            "pair": self.adam(self.encoder, self.generator, betas=BETAS),
        }

    def decode(self, z: Tensor) -> Tensor:
        """g(z): (B, M) -> (B, 3, S, S) in [-1, 1]."""
        return self.run(self.generator, z)

    def discriminate(self, images: Tensor, latents: Tensor) -> Tensor:
        """Logits (B,) of pairs, positive for (x, e(x))."""
        return self.run(lambda x, z: self.critic(x, z, self.random), images, latents)

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update of the discriminator, and one of encoder and generator on the same pairs."""
        z = self.latents(len(images), self.random)
        (encoded, output), fake = self.encode(images), self.decode(z)
        of_real, of_fake = self.discriminate(images, encoded.detach()), self.discriminate(fake.detach(), z)
        loss_critic = losses.discriminator(of_real, of_fake)
        self.update("critic", loss_critic)
        loss_pair = losses.swapped(self.discriminate(images, encoded), self.discriminate(fake, z))
        self.update("pair", loss_pair)
        return {
            "loss_critic": loss_critic,
            "loss_pair": loss_pair,
            "probability_real": losses.probability(of_real),
            "probability_fake": losses.probability(of_fake),
            "sample_spread": spread(fake, images),
            "latent_spread": (output.var(dim=0, correction=0).sum() / z.square().sum(dim=1).mean()).sqrt(),
        }
