"""VICReg (Bardes et al., arXiv:2105.04906): views alike, every component varied, components uncorrelated.

With Z and Z' the projections (B, P) of two views of B pictures, and V_j and C the variances and the covariance matrix
of a batch (over B - 1):

    s = mean over pictures and components of (Z - Z')^2                    invariance
    v = mean_j max(0, 1 - sqrt(V_j + 0.0001))                              variance
    c = 1/P sum_{j != k} C_jk^2                                            covariance

    L = 25 s(Z, Z') + 25 [v(Z) + v(Z')] + 1 [c(Z) + c(Z')]

Nothing pushes pictures apart one by one: variance alone keeps all from becoming equal. s is the mean over components as
well, as in the paper's algorithm 1; its equation 5 says the sum. The authors' published code has half the variance
term, 25/2.

Both views go through the networks in one batch, so batch norm sees them together; in the paper's algorithm 1 each goes
alone.

The projections are made of the encoder's output by three linear layers with batch norm, which are not embedded. In the
paper they are 8192 wide.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visrec.networks.projector import projector
from visrec.training.method import Setup
from visrec.training.two_views import TwoViews

TITLE = "varied and uncorrelated features"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
OPTIONS_OF = {"train": ["any_body", "views", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
        "invariance_weight": {
            "type": "number",
            "minimum": 0,
            "default": 25,
            "description": "Weight of the difference of two views' projections.",
        },
        "variance_weight": {
            "type": "number",
            "minimum": 0,
            "default": 25,
            "description": "Weight of what standard deviations lack of 1.",
        },
        "covariance_weight": {
            "type": "number",
            "minimum": 0,
            "default": 1,
            "description": "Weight of the squared covariances of different components.",
        },
        "projection": {
            "type": "integer",
            "minimum": 2,
            "maximum": 65536,
            "default": 512,
            "description": "Length of the projections that the loss compares, and width of the layers before it.",
        },
    },
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32", "projection": 64}
READINGS = {
    "loss": {"title": "VICReg loss", "from_zero": True},
    "invariance": {"title": "Invariance: squared difference of views", "from_zero": True},
    "covariance": {"title": "Covariance: squares off the diagonal", "from_zero": True},
    "deviation": {
        "title": "Standard deviation of projections, mean",
        "ideal": 1.0,
        "from_zero": True,
        "collapse_below": 0.01,
    },
}
EPSILON = 1e-4  # in the root, whose slope has no bound at 0


class Training(TwoViews):
    """An encoder and the projector that its loss looks through."""

    def __init__(self, setup: Setup):
        width = setup.options["projection"]
        super().__init__(setup, projector(setup.options["latent"], width, width, width, batchnorm=True))

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update, on two views of each image."""
        projections = self.projections(images)
        terms = vicreg(*projections.chunk(2))
        loss = sum(self.options[f"{name}_weight"] * term for name, term in terms.items())
        self.update("all", loss)
        deviation = projections.std(dim=0).mean()
        return {"loss": loss, **terms, "deviation": deviation}


def vicreg(one: Tensor, other: Tensor) -> dict[str, Tensor]:
    """The three terms of the loss, without their weights.

    Args:
        one: Z, float32 (B, P), B at least 2.
        other: Z', rows in the same order.
    """
    return {
        "invariance": F.mse_loss(one, other),
        "variance": lack_of_variance(one) + lack_of_variance(other),
        "covariance": off_diagonal(one) + off_diagonal(other),
    }


def lack_of_variance(z: Tensor) -> Tensor:
    """The term v of (B, P): what standard deviations lack of 1, mean over components."""
    return F.relu(1 - (z.var(dim=0) + EPSILON).sqrt()).mean()


def off_diagonal(z: Tensor) -> Tensor:
    """The term c of (B, P): squared covariances of different components, summed and divided by P."""
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (len(z) - 1)
    diagonal = torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
    return covariance.masked_fill(diagonal, 0).square().sum() / z.shape[1]
