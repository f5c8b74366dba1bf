"""AGE with labels for a share of the pictures: the seed paper's future work.

The game is AGE's (`visrec.encoders.age`), and the encoder is also to tell the classes apart, by a linear head:

    L_E(psi, W, b) = KL(e(x)) - R(KL(e(g(z)))) + mu_x * D_x(g(e(x)), x)
                     + gamma / B * sum over labelled images of cross-entropy(s W e(x) + b)

with s = sqrt(M) as in `supervised`. The generator's loss is AGE's. The sum is divided by B, the
whole batch: in a mean over its labelled images, of which there may be one, that one would weigh as much as all others
in the rest of the loss, and the game was seen to begin hundreds of iterations later (docs/results.md).
"""

import math

import torch
from torch import Tensor, nn

from visrec.encoders import age
from visrec.training.labels import classification
from visrec.training.method import Setup

LIKE = "age"
TITLE = "AGE with labels for some pictures"
LABELS = True
HEADLINE = ["lambda_z", "mu_x", "label_share"]
OPTIONS_OF = {"train": ["body", "labels", "training"]}
OPTIONS = {
    "train": {
        "gamma": {
            "type": "number",
            "minimum": 0,
            "default": 1,
            "description": "Weight of a labelled image's cross-entropy in the encoder's loss.",
        },
    },
}
READINGS = {
    "cross_entropy": {"title": "Cross-entropy of labelled images", "from_zero": True},
    "accuracy": {"title": "Accuracy on the batch's labelled images", "from_zero": True},
}


class Training(age.Training):
    """AGE's game, with a linear classifier on the encoder's output."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        self.classifier = nn.Linear(setup.options["latent"], setup.classes)
        self.scale = math.sqrt(setup.options["latent"])

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam each; the classifier is the encoder's."""
        encoder = self.adam(self.encoder, self.classifier, betas=age.BETAS)
        return {"encoder": encoder, "generator": self.adam(self.generator, betas=age.BETAS)}

    def encoder_terms(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """L_E and what it is made of; images without a label do not count in the cross-entropy."""
        terms = super().encoder_terms(real, labels)
        cross_entropy, accuracy = classification(self.classifier(self.scale * terms["e_real"]), labels)
        labelled = (labels >= 0).float().mean()
        return terms | {
            "loss_encoder": terms["loss_encoder"] + self.options["gamma"] * labelled * cross_entropy,
            "cross_entropy": cross_entropy,
            "accuracy": accuracy,
        }
