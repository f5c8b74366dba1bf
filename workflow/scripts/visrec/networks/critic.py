"""The discriminator of pairs: does an image belong to a latent as in (x, e(x)), or as in (g(z), z)?

BiGAN (Donahue et al., arXiv:1605.09782) and ALI (Dumoulin et al., arXiv:1606.00704) have it in three parts: one looks
at the image, one at the latent, and one at what both say. The first is a body of its own here, as deep and wide as the
one that is embedded; the others are fully connected. All activations are leaky, as in the body.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visrec.networks.bodies import LEAK, build, flat

WIDTH = 512  # of all fully connected layers, ALI's D(z)


class Critic(nn.Module):
    """D: images (B, 3, S, S) in [-1, 1] and latents (B, M) -> logits (B,), positive for pairs (x, e(x)).

    Args:
        size: S, pixels.
        latent: M.
        architecture: of the body that looks at images.
        dropout: share of values that every fully connected layer does not see.
        width: of the body, how many times as many channels every layer has.
    """

    def __init__(self, size: int, latent: int, architecture: str, dropout: float = 0.0, width: int = 1):
        super().__init__()
        seed = int(torch.randint(2**31, ()))  # not the method's: the body would start as the encoder's twin
        self.body, _ = build(size, WIDTH, architecture, seed, width)
        self.of_latent = nn.ModuleList([nn.Linear(latent, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.of_both = nn.ModuleList([nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, 1)])
        self.dropout = dropout

    def forward(self, x: Tensor, z: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Logits (B,).

        Args:
            x: images.
            z: latents.
            random: of the dropout, on their device; not needed without any.
        """
        of_image = F.leaky_relu(flat(self.body.head(self.body.hidden(x)[-1])), LEAK)
        for layer in self.of_latent:
            z = F.leaky_relu(layer(drop(z, self.dropout, random)), LEAK)
        both = torch.cat([of_image, z], dim=1)
        first, last = self.of_both
        both = F.leaky_relu(first(drop(both, self.dropout, random)), LEAK)
        return last(drop(both, self.dropout, random))[:, 0]


def drop(values: Tensor, share: float, random: torch.Generator | None) -> Tensor:
    """Dropout: each value 0 with probability `share`, else divided by 1 - share, so that the mean stays."""
    if share == 0:
        return values
    kept = torch.rand(values.shape, generator=random, device=values.device) >= share
    return values * kept / (1 - share)
