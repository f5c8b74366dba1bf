import pytest
import torch
from torch import nn

from visrec.networks.projector import projector


def test_layers_by_hand():
    kinds = [type(layer) for layer in projector(8, 6, 5, 4)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    kinds = [type(layer) for layer in projector(8, 6, 5, batchnorm=True)]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("batchnorm", [False, True])
def test_last_layer_is_linear(batchnorm):
    net = projector(8, 6, 5, batchnorm=batchnorm)
    made = net(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
    assert made.shape == (64, 5)
    assert made.min() < 0  # nothing cut off
