"""Siamese networks: with labels, pictures of a class come close to each other and those of others stay a margin apart.

One network sees both pictures of a pair. With D the Euclidean distance of its outputs on the unit sphere (0 to 2) and m
the margin, over all pairs of a batch:

    contrastive    1/2 mean over pairs of one class of D^2  +  1/2 mean over other pairs of max(0, m - D)^2
    triplet        mean over pictures a of max(0, m + max_p D(a, p) - min_n D(a, n))

contrastive: Hadsell, Chopra, LeCun, *Dimensionality Reduction by Learning an Invariant Mapping*, CVPR 2006, equation 4,
with one difference: they sum over all pairs alike, here the two kinds weigh the same, however many classes there are.

triplet: Hermans et al., arXiv:1703.07737, "batch hard": p is the farthest picture of a's class and n the nearest of
another. A picture counts that has both in its batch. Batches are drawn at random here, not a number of pictures of each
of a number of classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visrec.networks.any_body import build_encoder
from visrec.training.method import Method, Setup
from visrec.training.views import flip

TITLE = "network trained on pairs of pictures"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
LABELS = True
UNLABELLED = False
HEADLINE = ["loss"]
OPTIONS_OF = {"train": ["any_body", "labels", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
        "loss": {
            "enum": ["contrastive", "triplet"],
            "default": "contrastive",
            "description": "Of pairs, or of triplets with the farthest of the own and the nearest of another class.",
        },
        "margin": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 2,
            "default": 1,
            "description": "m, in distances on the unit sphere.",
        },
        "flip": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0,
            "description": "Probability that an image is flipped; 0 where left and right differ, as in digits.",
        },
    },
}
TEST = {"iterations": 2, "batch": 8, "precision": "fp32"}
READINGS = {
    "loss": {"title": "Contrastive or triplet loss", "from_zero": True},
    "same": {"title": "Distance within classes, mean", "from_zero": True},
    "different": {"title": "Distance between classes, mean", "from_zero": True},
    "spread": {
        "title": "Spread of outputs, of the sphere's",
        "from_zero": True,
        "collapse_below": 0.01,
    },
}


class Training(Method):
    """An encoder, and nothing else."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        options = setup.options
        self.encoder = build_encoder(
            setup.size, options["latent"], options["architecture"], setup.seed, options["width"]
        )

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam."""
        return {"all": self.adam(self.encoder)}

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update."""
        flipped = torch.rand(len(images), generator=self.random, device=self.device) < self.options["flip"]
        outputs = self.run(self.encoder, flip(images, flipped))
        # Its gradient is 0 where a distance is, and without products of matrices small distances are exact.
        distances = torch.cdist(outputs, outputs, compute_mode="donot_use_mm_for_euclid_dist")
        same, different = pairs(labels)
        loss = LOSSES[self.options["loss"]](distances, same, different, self.options["margin"])
        self.update("all", loss)
        return {
            "loss": loss,
            "same": mean_over(same, distances),
            "different": mean_over(different, distances),
            "spread": outputs.var(dim=0, correction=0).sum().sqrt(),
        }


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pictures are of one class, and which of two: bool (B, B) each; none is paired with itself.

    Args:
        labels: int64 (B,); all have one, as the file says by UNLABELLED.
    """
    equal = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return equal & ~itself, ~equal


def mean_over(which: Tensor, values: Tensor) -> Tensor:
    """The mean of those values, 0 if there are none."""
    return (values * which).sum() / which.sum().clamp(min=1)


def contrastive(distances: Tensor, same: Tensor, different: Tensor, margin: float) -> Tensor:
    """The loss of pairs.

    Args:
        distances: D, float32 (B, B).
        same: which are of one class, bool (B, B), see `pairs`.
        different: which are of two classes, bool (B, B).
        margin: m.
    """
    apart = F.relu(margin - distances)
    return (mean_over(same, distances.square()) + mean_over(different, apart.square())) / 2


def triplet(distances: Tensor, same: Tensor, different: Tensor, margin: float) -> Tensor:
    """The loss of the hardest triplets, with arguments as those of `contrastive`."""
    farthest = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(~different, torch.inf).amin(dim=1)
    complete = same.any(dim=1) & different.any(dim=1)  # the others lack one of the two, and come out as 0
    return mean_over(complete, F.relu(margin + farthest - nearest))


LOSSES = {"contrastive": contrastive, "triplet": triplet}
