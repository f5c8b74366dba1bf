"""Projectors: small networks that a loss looks through, between the output that is embedded and what is compared."""

from itertools import pairwise

from torch import nn

HIDDEN = 512  # width of the hidden layer of SimCLR's and SupCon's


def projector(*widths: int, batchnorm: bool = False) -> nn.Sequential:
    """Linear layers from the first width to the last, with ReLU between them.

    Args:
        widths: of the input, of hidden layers, and of the projections; two at least.
        batchnorm: batch norm before every ReLU.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if batchnorm else []), nn.ReLU()]
    return nn.Sequential(*layers[: -2 if batchnorm else -1])
