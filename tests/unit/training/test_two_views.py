import torch
from training_fixture import CPU

from visrec.experiment import registry
from visrec.networks.any_body import build_encoder
from visrec.networks.projector import projector
from visrec.training.method import Setup
from visrec.training.two_views import TwoViews
from visrec.training.views import view

OPTIONS = {name: one["default"] for name, one in registry.declared("encoders", "simclr")["OPTIONS"]["train"].items()}
OPTIONS |= {"latent": 16, "precision": "fp32"}


def test_projections_are_those_of_two_views_of_each_image():
    method = TwoViews(Setup(OPTIONS, 32, 0, CPU), projector(16, 8, 4))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    random = torch.Generator().manual_seed(0)
    first, second = (view(images, OPTIONS, random) for _ in range(2))
    with torch.no_grad():
        made = method.projections(images)
        encoder = build_encoder(32, 16, "dcgan", seed=0)
        expected = method.projector(encoder(torch.cat([first, second])))
    assert made.shape == (6, 4)
    assert torch.allclose(made, expected, atol=1e-6)
    trained = {id(weight) for group in method.optimisers()["all"].param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in method.parameters()}
