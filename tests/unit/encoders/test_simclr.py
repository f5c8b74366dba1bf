import math

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from training_fixture import CPU

from visrec.encoders.simclr import Training, nt_xent
from visrec.experiment import registry
from visrec.training.method import Setup, make

OPTIONS = {
    name: option["default"] for name, option in registry.declared("encoders", "simclr")["OPTIONS"]["train"].items()
}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3}


def projections(pairs=6, length=5, seed=0):
    u = torch.randn(2 * pairs, length, generator=torch.Generator().manual_seed(seed))
    return u / u.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_is_that_of_an_independent_implementation(temperature):
    u = projections()
    partners = torch.arange(6).repeat(2)
    expected = NTXentLoss(temperature=temperature)(u, partners)
    assert nt_xent(u, temperature)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_two_pairs_by_hand():
    """Partners are equal, others at right angles: each view has cosine 1 with its partner and 0 with two others."""
    u = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    loss, found = nt_xent(u, 0.5)
    assert loss.item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)))
    assert found == 1
    swapped, lost = nt_xent(u[[0, 1, 3, 2]], 0.5)
    assert swapped.item() == pytest.approx(-math.log(1 / (math.exp(2) + 2)))
    assert lost == 0


def test_a_step_goes_downhill_in_both_networks_and_reads_its_spread():
    method = make(Training, Setup(OPTIONS, 32, 0, CPU))
    method.begin()
    method.set_learning_rate(1e-4)
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    before, state = {name: weight.clone() for name, weight in method.named_parameters()}, method.random.get_state()
    first = method.step(x, None)
    method.random.set_state(state)  # the same views again
    assert method.step(x, None)["loss"] < first["loss"]
    assert 0 < first["spread"] <= 1  # ||u|| = 1, so the variances sum to at most 1
    assert all(not torch.equal(before[name], weight) for name, weight in method.named_parameters())


def test_the_encoder_starts_where_the_untrained_one_does():
    from visrec.networks.bodies import build

    weights = build(32, 16, "dcgan", 3)[0].state_dict()
    start = make(Training, Setup(OPTIONS, 32, 3, CPU)).encoder.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in start.items())
