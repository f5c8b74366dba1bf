import pytest
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from training_fixture import CPU

from visrec.encoders.siamese import LOSSES, Training, pairs
from visrec.experiment import registry
from visrec.networks.bodies import unit
from visrec.training.method import Setup, make

DECLARED = registry.declared("encoders", "siamese")["OPTIONS"]["train"]
OPTIONS = {name: option["default"] for name, option in DECLARED.items()}
OPTIONS |= {"latent": 16, "batch": 8, "precision": "fp32", "iterations": 3}
EUCLIDEAN = LpDistance(normalize_embeddings=False)


def points(count=12, length=5):
    return unit(torch.randn(count, length, generator=torch.Generator().manual_seed(0)))


def loss_of(kind, outputs, labels, margin=1.0):
    distances = torch.cdist(outputs, outputs, compute_mode="donot_use_mm_for_euclid_dist")
    return LOSSES[kind](distances, *pairs(torch.tensor(labels)), margin)


LABELS = [0, 1, 2, 0, 1, 2, 0, 0, 1, 3, 2, 0]  # of 3 there is one


@pytest.mark.parametrize("margin", [0.5, 1.2])
def test_contrastive_is_that_of_an_independent_implementation(margin):
    """Theirs is not squared."""
    u = points()
    theirs = losses.ContrastiveLoss(0, margin, distance=EUCLIDEAN, reducer=DoNothingReducer())
    found = theirs(u, torch.tensor(LABELS))
    same, different = (found[kind]["losses"].square().mean() for kind in ("pos_loss", "neg_loss"))
    assert loss_of("contrastive", u, LABELS, margin).item() == pytest.approx((same + different).item() / 2, rel=1e-5)


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet_is_that_of_an_independent_implementation(margin):
    """Theirs mines no triplet for a picture that is alone in its class."""
    u, labels = points(), torch.tensor(LABELS)
    theirs = losses.TripletMarginLoss(margin, distance=EUCLIDEAN, reducer=MeanReducer())
    expected = theirs(u, labels, BatchHardMiner(distance=EUCLIDEAN)(u, labels))
    assert loss_of("triplet", u, LABELS, margin).item() == pytest.approx(expected.item(), rel=1e-5)


def test_both_by_hand():
    """On a line at 0, 3, 4 and 8 (halves of it): classes 0, 0, 1, 1."""
    line = torch.tensor([[0.0], [3.0], [4.0], [8.0]]) / 2
    same, different = (1.5**2 + 2**2) / 2, (0 + 0 + 1.5**2 + 0) / 4  # at 2, 4, 0.5 and 2.5, of which one is below 2
    assert loss_of("contrastive", line, [0, 0, 1, 1], 2.0).item() == pytest.approx((same + different) / 2)
    expected = (2 + 1.5 - 2) + (2 + 1.5 - 0.5) + (2 + 2 - 0.5) + (2 + 2 - 2.5)
    assert loss_of("triplet", line, [0, 0, 1, 1], 2.0).item() == pytest.approx(expected / 4)


def gradient(kind, outputs, labels, margin=1.0):
    outputs = outputs.clone().requires_grad_()
    loss = loss_of(kind, outputs, labels, margin)
    loss.backward()
    return loss.item(), outputs.grad


@pytest.mark.parametrize("kind", LOSSES)
def test_without_pairs_there_is_no_loss_and_no_gradient(kind):
    loss, slope = gradient(kind, points(1), [3])
    assert loss == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("labels", [[1] * 12, [*range(12)]], ids=["one class", "all of different classes"])
def test_a_triplet_needs_both_kinds_of_pairs(labels):
    loss, slope = gradient("triplet", points(), labels)
    assert loss == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("labels", [[1] * 12, [*range(12)]], ids=["one class", "all of different classes"])
def test_one_kind_of_pairs_is_enough_to_contrast(labels):
    loss, slope = gradient("contrastive", points(), labels)
    assert loss > 0
    assert slope.isfinite().all()
    assert (slope != 0).any()


@pytest.mark.parametrize(
    "kind, labels, expected",
    [
        ("contrastive", [0, 0, 1, 1], 0.5),
        ("contrastive", [0, 1, 2, 3], 0.5),
        ("contrastive", [0, 0, 0, 0], 0),
        ("triplet", [0, 0, 1, 1], 1),
        ("triplet", [0, 1, 2, 3], 0),
        ("triplet", [0, 0, 0, 0], 0),
    ],
)
def test_equal_outputs_have_a_loss_and_a_gradient_of_zero(kind, labels, expected):
    """At distance 0 a distance has no slope, in any direction."""
    loss, slope = gradient(kind, points()[[0, 0, 0, 0]], labels)
    assert loss == expected
    assert (slope == 0).all()


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def method_of(**options):
    method = make(Training, Setup(OPTIONS | options, 32, 0, CPU, classes=4))
    method.begin()
    return method


@pytest.mark.parametrize("kind", LOSSES)
def test_a_step_goes_downhill_and_reads_its_distances(kind, images):
    method, labels = method_of(loss=kind), torch.tensor([0, 1, 2, 3, 0, 1, 2, 4])
    method.set_learning_rate(1e-4)
    outputs = method.encoder(images).detach()
    terms = method.step(images, labels)
    assert terms["loss"].item() == pytest.approx(loss_of(kind, outputs, labels.tolist()).item(), rel=1e-5)
    distance = [(outputs[i] - outputs[i + 4]).norm().item() for i in range(3)]
    assert terms["same"].item() == pytest.approx(sum(distance) / 3, rel=1e-5)
    assert terms["spread"].item() == pytest.approx((1 - outputs.mean(dim=0).square().sum()).sqrt().item(), rel=1e-4)
    assert method.step(images, labels)["loss"] < terms["loss"]


def test_flipped_images_are_those_of_the_option(images):
    labels = torch.arange(8) % 4
    never, always = (method_of(flip=share).step(images, labels)["loss"] for share in (0, 1))
    assert always == method_of(flip=0).step(images.flip(3), labels)["loss"]
    assert always != never
