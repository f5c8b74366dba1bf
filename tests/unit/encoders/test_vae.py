import math

import pytest
import torch
from methods_fixture import course, method_of, moves, noise_pictures, upcoming
from torch.distributions import Normal, kl_divergence

from visrec.encoders.vae import kl
from visrec.networks import bodies
from visrec.networks.gaussian import sample


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)


def test_divergence_by_hand():
    """N(0, 1) has none; a mean of 2 costs 2 nats, a variance of e costs (e - 2) / 2."""
    mean = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    log_variance = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert kl(mean, log_variance).item() == pytest.approx((0 + 2 + (math.e - 2) / 2) / 2)


def test_divergence_is_that_of_torch():
    random = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(5, 7, generator=random) for _ in range(2))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).sum(dim=1).mean()
    assert kl(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("beta", [0, 1, 4])
def test_the_loss_is_half_the_squared_error_of_a_picture_and_the_divergence(beta):
    method, x = method_of("vae", beta=beta), noise_pictures()
    mean, log_variance = method.encoder.posterior(x)
    made = method.decode(upcoming(method, lambda: sample(mean, log_variance, method.random)))
    squared = ((made - x) ** 2).sum(dim=(1, 2, 3))
    divergence = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).sum(dim=1)
    row = course(method, x, steps=1)[0]
    assert row["loss"] == pytest.approx((squared / 2 + beta * divergence).mean().item(), rel=1e-4)
    assert row["squared_error"] == pytest.approx(squared.mean().item() / (3 * 32 * 32), rel=1e-4)
    assert row["kl"] == pytest.approx(divergence.mean().item(), rel=1e-4)


def test_a_step_goes_downhill_in_both_networks():
    method, x = method_of("vae"), noise_pictures()
    assert moves(method, x) == {"all": {"encoder", "generator"}}
    losses = [row["loss"] for row in course(method, x)]
    assert losses == sorted(losses, reverse=True)


def test_a_large_beta_leads_to_the_prior():
    """From far off, so that few steps show it."""
    method, x = method_of("vae", beta=1e6), noise_pictures()
    torch.nn.init.constant_(method.encoder.width.bias, 2.0)
    divergences = [row["kl"] for row in course(method, x)]
    assert divergences == sorted(divergences, reverse=True)
