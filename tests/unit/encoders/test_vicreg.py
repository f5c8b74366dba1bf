import numpy as np
import pytest
import torch
from training_fixture import CPU

from visrec.encoders.vicreg import Training, vicreg
from visrec.experiment import registry
from visrec.training.method import Setup, make

DECLARED = registry.declared("encoders", "vicreg")["OPTIONS"]["train"]
OPTIONS = {name: option["default"] for name, option in DECLARED.items()}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3, "projection": 32}


def test_terms_are_those_of_numpy():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 9, 5)) * [0.3, 0.8, 1.0, 1.5, 3.0]

    def regularisers(z):
        covariance = np.cov(z, rowvar=False)
        variance = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        return variance, (covariance**2).sum() / 5 - (np.diag(covariance) ** 2).sum() / 5

    found = vicreg(torch.from_numpy(one), torch.from_numpy(other))
    (v, c), (other_v, other_c) = regularisers(one), regularisers(other)
    assert found["invariance"].item() == pytest.approx(np.mean((one - other) ** 2))
    assert found["variance"].item() == pytest.approx(v + other_v)
    assert found["covariance"].item() == pytest.approx(c + other_c)


def test_terms_by_hand():
    """Of the first all variances and covariances are 2, of the second 1/2; their differences are 0 and 1."""
    found = vicreg(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert found["invariance"].item() == 0.5
    assert found["variance"].item() == pytest.approx(1 - 0.5001**0.5)
    assert found["covariance"].item() == pytest.approx(2**2 * 2 / 2 + 0.5**2 * 2 / 2)


def slope_of(one, other):
    one, other = one.clone().requires_grad_(), other.clone().requires_grad_()
    terms = vicreg(one, other)
    sum(terms.values()).backward()
    return {name: term.item() for name, term in terms.items()}, torch.cat([one.grad, other.grad])


def test_collapsed_projections_cost_and_have_a_finite_gradient():
    terms, slope = slope_of(torch.ones(6, 4), torch.ones(6, 4))
    assert terms == pytest.approx({"invariance": 0, "variance": 2 * 0.99, "covariance": 0})
    assert (slope == 0).all()  # by symmetry: no direction is better than another
    _, slope = slope_of(torch.ones(6, 4) + torch.arange(24.0).reshape(6, 4) * 1e-6, torch.ones(6, 4))
    assert slope.isfinite().all()
    assert (slope != 0).any()


def test_alike_varied_and_uncorrelated_projections_cost_nothing():
    z = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # of orthogonal columns, variance 4/3
    terms, slope = slope_of(z, z)
    assert terms == {"invariance": 0, "variance": 0, "covariance": 0}
    assert (slope == 0).all()


def method_of(**options):
    method = make(Training, Setup(OPTIONS | options, 32, 0, CPU))
    method.begin()
    return method


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_loss_weighs_its_terms_by_the_options(images):
    terms = method_of().step(images, None)
    expected = 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    others = method_of(invariance_weight=2, variance_weight=0, covariance_weight=3).step(images, None)
    expected = 2 * terms["invariance"] + 3 * terms["covariance"]
    assert others["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_step_goes_downhill_in_both_networks(images):
    method = method_of()
    method.set_learning_rate(1e-4)
    before, state = {name: weight.clone() for name, weight in method.named_parameters()}, method.random.get_state()
    with torch.no_grad():
        deviation = method.projections(images).std(dim=0).mean()
    method.random.set_state(state)
    first = method.step(images, None)
    method.random.set_state(state)  # the same views again
    assert method.step(images, None)["loss"] < first["loss"]
    assert first["deviation"].item() == pytest.approx(deviation.item(), rel=1e-5)
    # Biases before a batch norm have no gradient but for rounding.
    weights = {name for name, weight in method.named_parameters() if weight.ndim > 1}
    assert not {name for name in weights if torch.equal(before[name], method.get_parameter(name))}


def test_the_projector_has_three_layers_of_one_width():
    shapes = [tuple(weight.shape) for weight in method_of().projector.parameters() if weight.ndim > 1]
    assert shapes == [(32, 16), (32, 32), (32, 32)]
