import pytest
import torch
from training_fixture import CPU, WIDTH

from visrec.encoders import age, age_labels
from visrec.experiment import registry
from visrec.networks import bodies
from visrec.training.method import Setup, make

DECLARED = registry.declared("encoders", "age_labels")["OPTIONS"]["train"]
OPTIONS = {name: option["default"] for name, option in DECLARED.items()}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3}
LABELS = torch.tensor([0, 1, -1, 3, 2, -1, 0, 1])


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", WIDTH)


@pytest.fixture
def images():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def method_of(kind=age_labels.Training, **options):
    method = make(kind, Setup(OPTIONS | options, 32, 0, CPU, classes=4))
    method.begin()
    return method


def test_the_encoders_loss_is_ages_and_gamma_times_the_cross_entropy_over_the_batch(images):
    plain, own = method_of(age.Training).encoder_terms(images), method_of(gamma=3.0).encoder_terms(images, LABELS)
    method = method_of()
    logits = method.classifier(4 * own["e_real"]).double()  # sqrt(16)
    expected = -torch.log_softmax(logits, dim=1)[range(8), LABELS][LABELS >= 0].mean().item()
    assert own["cross_entropy"].item() == pytest.approx(expected, rel=1e-4)
    assert own["loss_encoder"].item() == pytest.approx(plain["loss_encoder"].item() + 3 * expected * 6 / 8, rel=1e-4)
    right = (logits.argmax(dim=1) == LABELS).sum().item()
    assert own["accuracy"].item() == pytest.approx(right / 6)


@pytest.mark.parametrize("options, labels", [({"gamma": 0}, LABELS), ({}, torch.full((8,), -1))])
def test_without_labels_or_weight_it_is_ages_game_bit_by_bit(images, options, labels):
    plain, own = method_of(age.Training), method_of(**options)
    for _ in range(2):
        plain.step(images, None)
        own.step(images, labels)
    weights = own.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in plain.state_dict().items())


def test_the_classifier_learns_and_labels_reach_the_encoder(images):
    own, other = method_of(), method_of()
    before = own.classifier.weight.clone()
    own.step(images, LABELS)
    other.step(images, LABELS.flip(0))
    assert not torch.equal(before, own.classifier.weight)
    weights = own.encoder.state_dict()
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in other.encoder.state_dict().items())


def test_both_networks_have_the_beta1_of_age():
    betas = [group["betas"] for each in method_of().optimisers().values() for group in each.param_groups]
    assert betas == [(0.5, 0.999)] * 2
