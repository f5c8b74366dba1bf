"""A variational autoencoder (Kingma & Welling, arXiv:1312.6114), with the weight of beta-VAE.

    L = 1/2 ||g(z) - x||^2 + beta KL(q(z|x) || N(0, I)),    z = mu(x) + sigma(x) eps,    eps ~ N(0, I)

mean over a batch, in nats per picture: the negative evidence lower bound of pixels with Gaussian noise of variance 1,
without its constant. As only the ratio of the terms matters, beta is the variance of the noise where the bound is to be
a bound. mu is the body's head, not brought to the sphere, and is what is embedded and decoded; sigma has a head of its
own (`visrec.networks.gaussian`).
"""

import torch
from torch import Tensor

from visrec.networks.bodies import build
from visrec.networks.gaussian import GaussianEncoder, sample
from visrec.training.method import Method, Setup

TITLE = "variational autoencoder"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
PICTURES = ["samples", "reconstructions"]
OPTIONS_OF = {"train": ["body", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
        "beta": {
            "type": "number",
            "minimum": 0,
            "default": 1,
            "description": "Weight of the divergence from the prior.",
        },
    },
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
READINGS = {
    "squared_error": {"title": "Squared error of pixels", "from_zero": True},
    "kl": {
        "title": "KL of q(z|x), nats per picture",
        "from_zero": True,
        "healthy": [0.7, None],
        "below": "latents say less than one bit about a picture (ln 2 = 0.69 nats): the posterior has collapsed to the "
        "prior; a smaller `beta` lets them say more",
        "collapse_below": 0.7,
    },
    "loss": {"title": "Loss, nats per picture", "from_zero": True},
}


class Training(Method):
    """A Gaussian encoder and the generator as its decoder."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        options = setup.options
        body, self.generator = build(
            setup.size, options["latent"], options["architecture"], setup.seed, options["width"]
        )
        self.encoder = GaussianEncoder(body)

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam for both networks."""
        return {"all": self.adam(self.encoder, self.generator)}

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Latents (count, M) of N(0, I)."""
        return torch.randn(count, self.options["latent"], generator=random, device=random.device)

    def decode(self, z: Tensor) -> Tensor:
        """g(z): (B, M) -> (B, 3, S, S) in [-1, 1], the mean of the pixels."""
        return self.run(self.generator, z)

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update."""
        mean, log_variance = self.run(self.encoder.posterior, images)
        reconstruction = self.decode(sample(mean, log_variance, self.random))
        squared, divergence = (reconstruction - images).square(), kl(mean, log_variance)
        loss = squared.sum() / (2 * len(images)) + self.options["beta"] * divergence
        self.update("all", loss)
        return {"loss": loss, "squared_error": squared.mean(), "kl": divergence}


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, diag sigma^2) || N(0, I)) = 1/2 sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1), mean over the batch.

    Nats per picture, a scalar (arXiv:1312.6114, appendix B).

    Args:
        mean: mu, (B, M).
        log_variance: log sigma^2, (B, M).
    """
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1).mean() / 2
