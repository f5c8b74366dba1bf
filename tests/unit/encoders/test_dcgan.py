import pytest
import torch
from methods_fixture import BATCH, LATENT, course, method_of, moves, noise_pictures, upcoming

from visrec.networks import bodies


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)


def test_each_player_moves_its_own_networks():
    moved = moves(method_of("dcgan"), noise_pictures())
    assert moved == {"discriminator": {"encoder", "logit"}, "generator": {"generator"}}


def test_both_players_have_the_papers_beta1():
    """0.5 (arXiv:1511.06434); Adam's own default would be 0.9."""
    betas = [group["betas"] for each in method_of("dcgan").optimisers().values() for group in each.param_groups]
    assert betas == [(0.5, 0.999)] * 2


def test_losses_are_those_of_the_game():
    """Real and generated images are told apart in batches of their own, as batch norm needs it."""
    method, x = method_of("dcgan"), noise_pictures()
    fake = method.decode(upcoming(method, lambda: method.latents(BATCH, method.random)))
    d_real, d_fake = (method.discriminate(images).double().sigmoid() for images in (x, fake))
    row = course(method, x, steps=1)[0]
    assert row["loss_discriminator"] == pytest.approx((-d_real.log().mean() - (1 - d_fake).log().mean()).item(), 1e-5)
    assert row["probability_real"] == pytest.approx(d_real.mean().item(), 1e-5)
    assert row["probability_fake"] == pytest.approx(d_fake.mean().item(), 1e-5)
    frozen = course(method_of("dcgan"), x, frozen="discriminator", steps=1)[0]
    assert frozen["loss_generator"] == pytest.approx(-d_fake.log().mean().item(), 1e-4)
    assert frozen["sample_spread"] == pytest.approx((fake.std(0).mean() / x.std(0).mean()).item(), 1e-4)


def test_the_discriminator_learns_to_tell_apart_and_the_generator_to_deceive():
    told = course(method_of("dcgan"), noise_pictures(), frozen="generator")
    assert told[-1]["loss_discriminator"] < told[0]["loss_discriminator"]
    deceived = course(method_of("dcgan"), noise_pictures(), frozen="discriminator")
    assert deceived[-1]["probability_fake"] > deceived[0]["probability_fake"]
    assert deceived[-1]["probability_real"] == pytest.approx(deceived[0]["probability_real"])


def test_the_logit_is_made_of_the_last_map_and_the_head_stays():
    method, x = method_of("dcgan"), noise_pictures()
    last = method.encoder.hidden(x)[-1]
    by_hand = last.flatten(1) @ method.logit.weight.flatten() + method.logit.bias
    assert torch.allclose(method.discriminate(x), by_hand, atol=1e-5)
    head = method.encoder.head.weight.clone()
    course(method, x, steps=1)
    assert torch.equal(method.encoder.head.weight, head)


def test_latents_are_on_the_sphere():
    z = method_of("dcgan").latents(5, torch.Generator().manual_seed(0))
    assert z.shape == (5, LATENT)
    assert torch.allclose(z.norm(dim=1), torch.ones(5))
