"""Supervised: a linear classifier on the encoder's output, trained with labels. What labels can do on this body.

    logits = s W e(x) + b,    loss = cross-entropy

e(x) is on the unit sphere; s = sqrt(M) gives its components the size of a standard Gaussian's.
"""

import math

import torch
from torch import Tensor, nn

from visrec.networks.any_body import build_encoder
from visrec.training.labels import classification
from visrec.training.method import Method, Setup
from visrec.training.views import flip

TITLE = "classifier network"
STAGE = "train"
SIZES = [32, 64]
ATLAS = True
LABELS = True
UNLABELLED = False
OPTIONS_OF = {"train": ["any_body", "labels", "training"], "embed": ["stack"]}
OPTIONS = {
    "train": {
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
    "loss": {"title": "Cross-entropy", "from_zero": True},
    "accuracy": {"title": "Accuracy on the batch", "from_zero": True},
}


class Training(Method):
    """An encoder and a linear classifier."""

    def __init__(self, setup: Setup):
        super().__init__(setup)
        options = setup.options
        self.encoder = build_encoder(
            setup.size, options["latent"], options["architecture"], setup.seed, options["width"]
        )
        self.classifier = nn.Linear(options["latent"], setup.classes)
        self.scale = math.sqrt(options["latent"])

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """One Adam for both networks."""
        return {"all": self.adam(self.encoder, self.classifier)}

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update."""
        flipped = torch.rand(len(images), generator=self.random, device=self.device) < self.options["flip"]
        loss, accuracy = classification(self.run(self.classify, flip(images, flipped)), labels)
        self.update("all", loss)
        return {"loss": loss, "accuracy": accuracy}

    def classify(self, images: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.classifier(self.scale * self.encoder(images))
