import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

from visrec.networks.bodies import Encoder, unit
from visrec.networks.resnet import ResNet18, build_resnet18


@pytest.fixture(scope="module")
def encoder():
    return build_resnet18(32, 16, seed=0)


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_number_of_weights():
    """11,173,962 are those of ResNet-18 for the ten classes of CIFAR-10; their layer gives way to one of 128."""
    with torch.device("meta"):
        net = ResNet18(32, 128)
    assert sum(weight.numel() for weight in net.parameters()) == 11_173_962 - 10 * 513 + 128 * 513


def test_it_is_torchvisions_behind_another_stem(encoder, images):
    whole = resnet18(num_classes=16)
    whole.conv1, whole.bn1, whole.maxpool = encoder.stem[0], encoder.stem[1], nn.Identity()
    whole.layer1, whole.layer2, whole.layer3, whole.layer4 = encoder.stages
    whole.fc = encoder.head
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(images), unit(whole.eval()(images)), atol=1e-6)


@pytest.mark.parametrize("size", [32, 64])
def test_maps_have_the_same_sides_at_both_sizes(size):
    with torch.device("meta"):
        net = ResNet18(size, 16)
        maps = net.hidden(torch.empty(2, 3, size, size))
        assert [each.shape for each in maps] == [(2, 64 << i, 32 >> i, 32 >> i) for i in range(4)]
        assert net.latent(maps[-1]).shape == (2, 16)


def test_maps_are_not_changed_by_later_stages(encoder, images):
    with torch.no_grad():
        first, second, *_ = encoder.eval().hidden(images)
        assert torch.equal(encoder.stages[1](first), second)
        assert torch.equal(encoder.stages[0](encoder.stem(images)), first)
    assert first.min() == 0  # after its activation


def test_weights_depend_on_the_seed_alone_and_global_state_is_left(encoder):
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    again = build_resnet18(32, 16, seed=0)
    assert torch.equal(torch.rand(1), before)
    assert torch.equal(again.stem[0].weight, encoder.stem[0].weight)
    assert torch.equal(again.head.weight, encoder.head.weight)
    assert again.stem[0].weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)  # He, by fan-out


@pytest.mark.parametrize("size, times", [(32, 31), (64, 5)])
def test_its_work_in_that_of_dcgan(size, times):
    """The figures of config/README.md."""

    def work(kind):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            kind(size, 128)(torch.empty(1, 3, size, size))
        return counter.get_total_flops()

    assert round(work(ResNet18) / work(Encoder)) == times


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="32 and 64 px, not for 48 px"):
        ResNet18(48, 16)
