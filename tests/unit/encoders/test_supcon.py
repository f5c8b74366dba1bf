import math

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import MeanReducer
from training_fixture import CPU

from visrec.encoders.simclr import nt_xent
from visrec.encoders.supcon import Training, supcon
from visrec.experiment import registry
from visrec.networks.bodies import unit
from visrec.training.method import Setup, make

DECLARED = registry.declared("encoders", "supcon")["OPTIONS"]["train"]
OPTIONS = {name: option["default"] for name, option in DECLARED.items()}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3}


def projections(pairs=6, length=5):
    return unit(torch.randn(2 * pairs, length, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 0, 1], [0, 1, 0, -1, 0, -1]], ids=["all labelled", "two without"])
def test_the_loss_is_that_of_an_independent_implementation(labels, temperature):
    """To which pictures without a label are given as classes of their own."""
    u = projections()
    theirs = SupConLoss(temperature=temperature, reducer=MeanReducer())
    classes = torch.tensor([label if label >= 0 else 100 + i for i, label in enumerate(labels)])
    found, _ = supcon(u, torch.tensor(labels), temperature)
    assert found.item() == pytest.approx(theirs(u, classes.repeat(2)).item(), rel=1e-5)


@pytest.mark.parametrize("labels", [[-1] * 6, [*range(6)]], ids=["none labelled", "all of different classes"])
def test_without_pictures_of_one_class_it_is_simclrs(labels):
    u = projections()
    loss, found = supcon(u, torch.tensor(labels), 0.2)
    expected, expected_found = nt_xent(u, 0.2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found == expected_found


def test_the_loss_of_two_pictures_by_hand():
    """Views of one are equal, of two at right angles: each view has cosine 1 with one other and 0 with two."""
    u = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    whole = math.log(math.exp(2) + 2)
    for labels, expected in (([3, 3], whole - 2 / 3), ([0, 1], whole - 2)):
        loss, found = supcon(u, torch.tensor(labels), 0.5)
        assert loss.item() == pytest.approx(expected)
        assert found == 1
    loss, found = supcon(u[[0, 1, 3, 2]], torch.tensor([0, 1]), 0.5)
    assert loss.item() == pytest.approx(whole)
    assert found == 0
    assert supcon(u[[0, 1, 3, 2]], torch.tensor([1, 1]), 0.5)[1] == 1


@pytest.mark.parametrize("labels", [[1] * 6, [*range(6)], [-1] * 6, [0, 0, 0, 1, -1, -1]])
def test_gradients_are_finite_in_every_batch(labels):
    u = projections().requires_grad_()
    loss, _ = supcon(u, torch.tensor(labels), 0.1)
    loss.backward()
    assert loss.isfinite()
    assert u.grad.isfinite().all()
    assert (u.grad != 0).any()


def test_one_class_in_one_point_has_nothing_to_gain():
    points = projections()[[0] * 12].requires_grad_()
    loss, _ = supcon(points, torch.ones(6, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(11), rel=1e-5)
    assert points.grad.abs().max() < 1e-5


def test_a_step_goes_downhill_and_labels_count():
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.arange(8) % 4
    method = make(Training, Setup(OPTIONS, 32, 0, CPU, classes=4))
    method.begin()
    method.set_learning_rate(1e-4)
    before, state = {name: weight.clone() for name, weight in method.named_parameters()}, method.random.get_state()
    first = method.step(x, labels)
    method.random.set_state(state)  # the same views again
    assert method.step(x, labels)["loss"] < first["loss"]
    assert 0 < first["spread"] <= 1
    assert all(not torch.equal(before[name], weight) for name, weight in method.named_parameters())
    unlabelled = make(Training, Setup(OPTIONS, 32, 0, CPU, classes=4))
    unlabelled.begin()
    assert unlabelled.step(x, torch.full((8,), -1))["loss"] != first["loss"]
