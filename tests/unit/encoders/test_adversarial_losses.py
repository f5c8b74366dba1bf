import math

import pytest
import torch
from torch.nn import functional as F

from visrec.encoders import _adversarial_losses as losses

LN3 = math.log(3)  # D = 3/4
FIRST, SECOND = torch.tensor([LN3, 0.0]), torch.tensor([-LN3, LN3])  # D = 3/4, 1/2 and 1/4, 3/4


def test_losses_by_hand():
    first = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    second = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert losses.deceiver(FIRST).item() == pytest.approx(first)
    assert losses.discriminator(FIRST, SECOND).item() == pytest.approx(first + second)
    swapped = -(math.log(1 / 4) + math.log(1 / 2)) / 2 - (math.log(1 / 4) + math.log(3 / 4)) / 2
    assert losses.swapped(FIRST, SECOND).item() == pytest.approx(swapped)
    assert losses.probability(FIRST).item() == pytest.approx(5 / 8)


def test_the_loss_is_the_cross_entropy_of_the_labels():
    ones, zeros = torch.ones(2), torch.zeros(2)
    entropy = F.binary_cross_entropy_with_logits
    assert torch.isclose(losses.discriminator(FIRST, SECOND), entropy(FIRST, ones) + entropy(SECOND, zeros))
    assert torch.isclose(losses.swapped(FIRST, SECOND), entropy(FIRST, zeros) + entropy(SECOND, ones))


def test_where_nothing_is_told_apart_the_loss_is_two_bits():
    assert losses.discriminator(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(2 * math.log(2))


def test_players_pull_in_opposite_directions():
    first, second = (each.clone().requires_grad_() for each in (FIRST, SECOND))
    down = torch.autograd.grad(losses.discriminator(first, second), (first, second))
    assert (down[0] < 0).all()
    assert (down[1] > 0).all()
    up = torch.autograd.grad(losses.swapped(first, second), (first, second))
    assert (up[0] > 0).all()
    assert (up[1] < 0).all()


def test_a_sure_discriminator_leaves_the_deceiver_its_slope():
    logits = torch.tensor([-200.0], requires_grad=True)
    loss = losses.deceiver(logits)
    assert loss.item() == pytest.approx(200)
    assert torch.autograd.grad(loss, logits)[0].item() == pytest.approx(-1)
