"""A body whose output is a Gaussian: q(z|x) = N(mu(x), diag sigma(x)^2), as VAE and ALI have it.

mu(x) is what the body's head makes of the last hidden map, not brought to the sphere: its length says how sure the
network is, and a prior N(0, I) gives it its scale. It is the output that is embedded, the mean of what is drawn, so
`decode` of it is the picture that the model sees in x. log sigma(x)^2 comes from a second head that is not embedded.
"""

import copy

import torch
from torch import Tensor, nn

from visrec.networks.bodies import Encoder, flat


class GaussianEncoder(nn.Module):
    """Images (B, 3, S, S) in [-1, 1] -> mu(x), (B, M), and log sigma(x)^2, (B, M), beside it.

    Args:
        body: gives the hidden maps; its head gives mu.

    Attributes:
        width: the head of log sigma^2. It starts at 0, that is sigma = 1.
    """

    def __init__(self, body: Encoder):
        super().__init__()
        self.body = body
        self.width = copy.deepcopy(body.head)
        for weight in self.width.parameters():
            nn.init.zeros_(weight)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The body's maps, (B, C_i, S_i, S_i), first to last."""
        return self.body.hidden(x)

    def latent(self, last: Tensor) -> Tensor:
        """mu, (B, M) in float32, from the last hidden map."""
        return flat(self.body.head(last))

    def forward(self, x: Tensor) -> Tensor:
        """mu(x), (B, M)."""
        return self.latent(self.hidden(x)[-1])

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu(x) and log sigma(x)^2, (B, M) each, in float32."""
        last = self.hidden(x)[-1]
        return self.latent(last), flat(self.width(last))


def sample(mean: Tensor, log_variance: Tensor, random: torch.Generator) -> Tensor:
    """A draw z = mu + sigma * eps, eps ~ N(0, I), with a gradient in mu and sigma.

    Args:
        mean: mu, (B, M).
        log_variance: log sigma^2, (B, M).
        random: of eps, on their device.
    """
    noise = torch.randn(mean.shape, generator=random, device=mean.device)
    return mean + (log_variance / 2).exp() * noise
