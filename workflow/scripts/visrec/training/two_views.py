"""What methods share that compare two views of each picture: an encoder, and a projector that is not embedded.

Their loss looks through the projector.
"""

import torch
from torch import Tensor, nn

from visrec.networks.any_body import build_encoder
from visrec.training.method import Method, Setup
from visrec.training.views import view


class TwoViews(Method):
    """An encoder and a projector with one optimiser. It takes the options of groups `any_body` and `views`."""

    def __init__(self, setup: Setup, projector: nn.Module):
        super().__init__(setup)
        options = setup.options
        self.encoder = build_encoder(
            setup.size, options["latent"], options["architecture"], setup.seed, options["width"]
        )
        self.projector = projector

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam for both networks."""
        return {"all": self.adam(self.encoder, self.projector)}

    def projections(self, images: Tensor) -> Tensor:
        """Projections (2B, P) of two random views of each image; rows i and B + i are of one image."""
        views = torch.cat([view(images, self.options, self.random) for _ in range(2)])
        return self.run(self.project, views)

    def project(self, images: Tensor) -> Tensor:
        """Projections (B, P) of images, as the projector gives them."""
        return self.projector(self.encoder(images))
