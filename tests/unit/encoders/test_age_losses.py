import math

import pytest
import torch
from torch import Tensor

from visrec.encoders import _age_losses as losses
from visrec.networks.bodies import unit


def sphere(batch: int, latent: int, seed: int = 0) -> Tensor:
    return unit(torch.randn(batch, latent, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def plain_kl(e: Tensor, variant: str) -> float:
    """Both divergences with loops over components, from the formulas."""
    batch, latent = e.shape
    total = 0.0
    for j in range(latent):
        column = [float(value) for value in e[:, j]]
        mean = sum(column) / batch
        variance = sum((value - mean) ** 2 for value in column) / batch
        spread = math.sqrt(variance)
        if variant == "exact":
            total += (spread**2 + mean**2) / 2 - math.log(spread) - 0.5
        else:
            total += ((variance**2 + mean**2) / 2 - math.log(variance) - 0.5) / latent
    return total


@pytest.mark.parametrize("latent, expected", [(64, 3.6590), (128, 4.3521)])
def test_reference_kl_of_the_uniform_sphere(latent, expected):
    assert losses.kl_ideal("reference", latent) == pytest.approx(expected, abs=5e-5)
    assert losses.kl_reference(sphere(200_000, latent)).item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("latent, per_component, total", [(64, 1.5873, 101.584), (128, 1.9299, 247.030)])
def test_exact_kl_of_the_uniform_sphere(latent, per_component, total):
    assert losses.kl_exact(sphere(200_000, latent)).item() / latent == pytest.approx(per_component, abs=5e-4)
    assert losses.kl_ideal("exact", latent) * latent / 2 == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("latent, batch, reference, exact", [(64, 64, 3.690, 1.603), (128, 256, 4.360, 1.934)])
def test_kl_of_uniform_batches(latent, batch, reference, exact):
    batches = [sphere(batch, latent, seed) for seed in range(50)]
    assert sum(losses.kl_reference(e).item() for e in batches) / 50 == pytest.approx(reference, abs=2e-3)
    assert sum(losses.kl_exact(e).item() for e in batches) / 50 / latent == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kl_against_plain_loops(shift):
    e = unit(sphere(20, 6) + shift)
    assert losses.kl_exact(e).item() == pytest.approx(plain_kl(e, "exact"), rel=1e-12)
    assert losses.kl_reference(e).item() == pytest.approx(plain_kl(e, "reference"), rel=1e-12)
    assert losses.kl_exact_scaled(e).item() == pytest.approx(plain_kl(e, "exact") * 2 / 6, rel=1e-12)


def test_on_the_sphere_the_two_divergences_differ_by_the_stated_identity():
    e = unit(sphere(50, 16) + 0.1)
    mean, variance = losses.moments(e)
    assert (variance + mean.square()).sum().item() == pytest.approx(1, rel=1e-12)
    expected = 2 * losses.kl_exact(e) + 16 / 2 - 1 + (variance.square() + mean.square()).sum() / 2
    assert 16 * losses.kl_reference(e).item() == pytest.approx(expected.item(), rel=1e-12)


def test_scaled_exact_kl_has_the_reference_gradient_near_uniform():
    raw = torch.randn(4096, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    gradients = [torch.autograd.grad(kl(unit(raw)), raw)[0] for kl in (losses.kl_exact_scaled, losses.kl_reference)]
    assert ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item() < 0.01


def test_pixel_matches_by_hand():
    a, x = torch.tensor([[1.0, -1.0], [0.5, 0.0]]), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert losses.pixel_l1(a, x).item() == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert losses.pixel_l2(a, x).item() == pytest.approx((1 + 0 + 0.25 + 0) / 4)


def test_latent_match_at_a_perfect_match_and_opposite():
    z = sphere(10, 128)
    assert losses.latent_match(z, z).item() == pytest.approx(1.9921875)
    assert losses.latent_match(-z, z).item() == pytest.approx(2 + 1 / 128)


def test_latent_match_is_half_the_mean_squared_distance_per_component():
    e, z = sphere(10, 8, 1), sphere(10, 8, 2)
    expected = (z - e).square().sum(dim=1).mean() / (2 * 8) + 2 - 1 / 8
    assert losses.latent_match(e, z).item() == pytest.approx(expected.item())


def test_shapes_that_would_broadcast_are_refused():
    z = sphere(4, 8)
    with pytest.raises(ValueError, match=r"\(4, 8\) and \(4, 8, 1, 1\)"):
        losses.latent_match(z, z[:, :, None, None])
