import math

import pytest
import torch

from visrec.networks.bodies import build, unit
from visrec.networks.gaussian import GaussianEncoder, sample


@pytest.mark.parametrize("architecture", ["dcgan", "reference"])
def test_the_mean_is_the_bodys_output_before_the_sphere(architecture):
    body = build(32, 16, architecture, 0)[0].eval()
    encoder = GaussianEncoder(body).eval()
    x = torch.rand(2, 3, 32, 32)
    mean, log_variance = encoder.posterior(x)
    assert torch.allclose(unit(mean), body(x), atol=1e-6)
    assert not torch.allclose(mean.norm(dim=1), torch.ones(2))
    assert torch.equal(encoder(x), mean)
    assert all(torch.equal(one, other) for one, other in zip(encoder.hidden(x), body.hidden(x), strict=True))
    assert torch.equal(log_variance, torch.zeros(2, 16))  # sigma starts at 1
    assert not torch.equal(body.head.weight, torch.zeros(()))  # its own head is left as it was


def test_a_sample_is_the_mean_and_sigma_times_noise():
    mean = torch.tensor([[1.0, -2.0]], requires_grad=True)
    log_variance = torch.tensor([[math.log(4), math.log(9)]], requires_grad=True)
    noise = torch.randn(1, 2, generator=torch.Generator().manual_seed(3))
    drawn = sample(mean, log_variance, torch.Generator().manual_seed(3))
    assert torch.allclose(drawn, mean + torch.tensor([[2.0, 3.0]]) * noise)
    by_mean, by_width = torch.autograd.grad(drawn.sum(), (mean, log_variance))
    assert torch.equal(by_mean, torch.ones(1, 2))
    assert torch.allclose(by_width, torch.tensor([[2.0, 3.0]]) * noise / 2)  # d sigma / d log sigma^2 = sigma / 2
