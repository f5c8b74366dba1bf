import pytest
import torch
from training_fixture import CPU

from visrec.encoders.supervised import Training
from visrec.experiment import registry
from visrec.training.method import Setup, make

DECLARED = registry.declared("encoders", "supervised")["OPTIONS"]["train"]
OPTIONS = {name: option["default"] for name, option in DECLARED.items()}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3}


def method_of(**options):
    method = make(Training, Setup(OPTIONS | options, 32, 0, CPU, classes=4))
    method.begin()
    return method


@pytest.fixture
def images():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_loss_is_the_mean_over_labelled_images(images):
    labels = torch.tensor([0, 1, -1, 3, 2, -1, 0, 1])
    method = method_of()
    logits = method.classifier(4 * method.encoder(images)).double()  # sqrt(16)
    expected = -torch.log_softmax(logits, dim=1)[range(8), labels][labels >= 0].mean()
    terms = method.step(images, labels)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    right = (logits.argmax(dim=1) == labels).sum().item()
    assert terms["accuracy"].item() == pytest.approx(right / 6)


def test_a_batch_without_labels_moves_nothing(images):
    method = method_of()
    before = [weight.clone() for weight in method.parameters()]
    terms = method.step(images, torch.full((8,), -1))
    assert terms["loss"] == 0
    assert all(torch.equal(one, other) for one, other in zip(before, method.parameters(), strict=True))


def test_flipped_images_are_those_of_the_option(images):
    labels = torch.arange(8) % 4
    never, always = (method_of(flip=share).step(images, labels)["loss"] for share in (0, 1))
    assert always == method_of(flip=0).step(images.flip(3), labels)["loss"]
    assert always != never


def test_a_step_goes_downhill(images):
    method = method_of()
    method.set_learning_rate(1e-3)
    labels = torch.arange(8) % 4
    losses = [method.step(images, labels)["loss"].item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
