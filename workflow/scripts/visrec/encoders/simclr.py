"""SimCLR (Chen et al., arXiv:2002.05709): two views of a picture should be more alike than views of two pictures.

With u_1 .. u_2B the projections of two views of each of B pictures, on the unit sphere, and j(i) the other view of i's
picture:

    NT-Xent = mean_i -log [ exp(u_i . u_j(i) / T) / sum_{k != i} exp(u_i . u_k / T) ]

The projections are made of the encoder's output by a small network that is not embedded.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visrec.networks.bodies import unit
from visrec.networks.projector import HIDDEN, projector
from visrec.training.method import Setup
from visrec.training.two_views import TwoViews

TITLE = "contrastive learning from two views"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
OPTIONS_OF = {"train": ["any_body", "views", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
        "temperature": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.2,
            "description": "T of the contrastive loss.",
        },
        "projection": {
            "type": "integer",
            "minimum": 2,
            "maximum": 65536,
            "default": 128,
            "description": "Length of the projections that the loss compares.",
        },
    },
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
READINGS = {
    "loss": {"title": "NT-Xent loss"},
    "found": {"title": "Views whose partner is nearest, share", "from_zero": True},
    "spread": {
        "title": "Spread of projections, of the sphere's",
        "from_zero": True,
        "collapse_below": 0.01,
    },
}


class Training(TwoViews):
    """An encoder and the projector that its loss looks through."""

    def __init__(self, setup: Setup):
        super().__init__(setup, projector(setup.options["latent"], HIDDEN, setup.options["projection"]))

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update, on two views of each image."""
        projections = unit(self.projections(images))
        loss, found = nt_xent(projections, self.options["temperature"])
        self.update("all", loss)
        spread = projections.var(dim=0, correction=0).sum().sqrt()
        return {"loss": loss, "found": found, "spread": spread}


def nt_xent(projections: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The loss, and the share of views whose partner is the most alike of all.

    Args:
        projections: float32 (2B, P) on the unit sphere; rows i and B + i are views of one picture.
        temperature: T.
    """
    count = len(projections)
    itself = torch.eye(count, dtype=torch.bool, device=projections.device)
    alike = (projections @ projections.T / temperature).masked_fill(itself, -torch.inf)
    partner = torch.arange(count, device=projections.device).roll(count // 2)
    return F.cross_entropy(alike, partner), (alike.argmax(dim=1) == partner).float().mean()
