"""SupCon (Khosla et al., arXiv:2004.11362): SimCLR with labels, so that all pictures of a class are views of one thing.

With u_1 .. u_2B the projections of two views of each of B pictures, on the unit sphere, and P(i) the other views of
pictures of i's class, its own second view among them:

    L_out = mean_i  -1/|P(i)| sum_{p in P(i)} log [ exp(u_i . u_p / T) / sum_{k != i} exp(u_i . u_k / T) ]

This is equation 2 of the paper, which its authors found better than the mean inside the logarithm. A picture without a
label is a class of its own: its second view is all that it should be alike, as in SimCLR.
"""

import torch
from torch import Tensor

from visrec.encoders import simclr
from visrec.networks.bodies import unit

LIKE = "simclr"
TITLE = "supervised contrastive learning"
LABELS = True
OPTIONS_OF = {"train": ["any_body", "views", "labels", "training"]}
OPTIONS: dict = {}
DEFAULTS = {"temperature": 0.1}
READINGS = {
    "loss": {"title": "SupCon loss"},
    "found": {"title": "Views whose nearest is of their class, share"},
}


class Training(simclr.Training):
    """SimCLR's encoder and projector."""

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update, on two views of each image."""
        projections = unit(self.projections(images))
        loss, found = supcon(projections, labels, self.options["temperature"])
        self.update("all", loss)
        spread = projections.var(dim=0, correction=0).sum().sqrt()
        return {"loss": loss, "found": found, "spread": spread}


def supcon(projections: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """L_out, and the share of views whose most alike of all is one of P(i).

    Args:
        projections: float32 (2B, P) on the unit sphere; rows i and B + i are views of one picture.
        labels: int64 (B,), of the pictures, -1 = none.
        temperature: T.
    """
    alone = -1 - torch.arange(len(labels), device=labels.device)
    classes = torch.where(labels >= 0, labels, alone).repeat(2)
    itself = torch.eye(len(classes), dtype=torch.bool, device=labels.device)
    positive = (classes[:, None] == classes) & ~itself
    alike = (projections @ projections.T / temperature).masked_fill(itself, -torch.inf)
    shares = alike.log_softmax(dim=1).masked_fill(~positive, 0)
    loss = -(shares.sum(dim=1) / positive.sum(dim=1)).mean()
    found = positive.gather(1, alike.argmax(dim=1, keepdim=True)).float().mean()
    return loss, found
