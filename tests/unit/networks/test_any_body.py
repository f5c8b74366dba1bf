import pytest
import torch

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.networks import any_body, bodies
from visrec.networks.resnet import ResNet18


@pytest.mark.parametrize("architecture", bodies.ARCHITECTURES)
def test_a_network_of_a_pair_is_that_of_the_pair(architecture):
    one, pair = (build(32, 8, architecture, seed=3) for build in (any_body.build_encoder, bodies.build))
    assert all(torch.equal(tensor, pair[0].state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("architecture", bodies.ARCHITECTURES)
def test_a_wide_network_is_that_of_the_wide_pair(architecture):
    one, pair = (build(32, 8, architecture, seed=3, width=2) for build in (any_body.build_encoder, bodies.build))
    assert all(torch.equal(tensor, pair[0].state_dict()[name]) for name, tensor in one.state_dict().items())


def test_a_resnet_of_another_width_is_refused():
    with pytest.raises(UserError, match="width: 2 is not there for architecture resnet18"):
        any_body.build_encoder(32, 8, "resnet18", seed=0, width=2)


def test_resnet_is_one_of_them_and_others_are_refused():
    assert isinstance(any_body.build_encoder(32, 8, "resnet18", seed=0), ResNet18)
    with pytest.raises(ValueError, match="dcgan, reference"):
        any_body.build_encoder(32, 8, "vgg", seed=0)


def test_options_are_those_of_pairs_and_one_network_more():
    one, pair = any_body.OPTIONS, bodies.OPTIONS
    assert one["architecture"]["enum"] == [*pair["architecture"]["enum"], "resnet18"]
    assert one["architecture"]["default"] == pair["architecture"]["default"]
    assert one["latent"] == pair["latent"]
    assert one["width"] == pair["width"] | {"description": one["width"]["description"]}


def test_encoders_that_draw_have_no_network_without_a_generator():
    for name in registry.names("encoders"):
        declared = registry.declared("encoders", name)
        options = {**declared["OPTIONS"].get("train", {}), **declared["OPTIONS"].get("embed", {})}
        if "architecture" in options:
            assert ("resnet18" in options["architecture"]["enum"]) == (not declared.get("PICTURES")), name
