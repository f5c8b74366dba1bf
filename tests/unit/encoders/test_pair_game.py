"""BiGAN and ALI: what they share, and what each has of its own."""

import pytest
import torch
from methods_fixture import BATCH, LATENT, course, method_of, moves, noise_pictures, upcoming

from visrec.experiment.config import encoder_options
from visrec.networks import bodies, critic


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)
    monkeypatch.setattr(critic, "WIDTH", 32)


@pytest.mark.parametrize("name", ["bigan", "ali"])
def test_each_player_moves_its_own_networks(name):
    assert moves(method_of(name), noise_pictures()) == {"critic": {"critic"}, "pair": {"encoder", "generator"}}


@pytest.mark.parametrize("name", ["bigan", "ali"])
def test_both_players_have_the_beta1_of_dcgan(name):
    """0.5, as DCGAN has; Adam's own default would be 0.9."""
    betas = [group["betas"] for each in method_of(name).optimisers().values() for group in each.param_groups]
    assert betas == [(0.5, 0.999)] * 2


@pytest.mark.parametrize("name, own", [("bigan", {}), ("ali", {"dropout": 0})])
def test_losses_are_those_of_the_game_with_labels_swapped_for_the_pair(name, own):
    method, x = method_of(name, **own), noise_pictures()
    z, (encoded, output) = upcoming(method, lambda: (method.latents(BATCH, method.random), method.encode(x)))
    fake = method.decode(z)
    d_real = method.discriminate(x, encoded).double().sigmoid()
    d_fake = method.discriminate(fake, z).double().sigmoid()
    row = course(method, x, frozen="critic", steps=1)[0]
    assert row["loss_critic"] == pytest.approx((-d_real.log().mean() - (1 - d_fake).log().mean()).item(), 1e-5)
    assert row["loss_pair"] == pytest.approx((-(1 - d_real).log().mean() - d_fake.log().mean()).item(), 1e-4)
    assert row["probability_real"] == pytest.approx(d_real.mean().item(), 1e-5)
    assert row["probability_fake"] == pytest.approx(d_fake.mean().item(), 1e-5)
    spread = (output.var(dim=0, correction=0).sum() / z.square().sum(dim=1).mean()).sqrt()
    assert row["latent_spread"] == pytest.approx(spread.item(), 1e-4)


@pytest.mark.parametrize("name, own", [("bigan", {}), ("ali", {"dropout": 0})])
def test_the_discriminator_learns_to_tell_apart_and_the_pair_to_deceive(name, own):
    told = course(method_of(name, **own), noise_pictures(), frozen="pair")
    assert told[-1]["loss_critic"] < told[0]["loss_critic"]
    deceived = course(method_of(name, **own), noise_pictures(), frozen="critic")
    assert deceived[-1]["probability_fake"] > deceived[0]["probability_fake"]
    assert deceived[-1]["probability_real"] < deceived[0]["probability_real"]


def test_bigan_pairs_pictures_with_their_output_on_the_sphere():
    method, x = method_of("bigan"), noise_pictures()
    paired, output = method.encode(x)
    assert torch.equal(paired, output)
    for latents in (output, method.latents(BATCH, torch.Generator())):
        assert latents.shape == (BATCH, LATENT)
        assert torch.allclose(latents.norm(dim=1), torch.ones(BATCH))
    assert encoder_options("bigan")["weight_decay"]["default"] == 2.5e-5


def test_ali_pairs_pictures_with_latents_drawn_around_their_mean():
    method, x = method_of("ali"), noise_pictures()
    drawn, mean = method.encode(x)
    assert torch.allclose(mean, method.encoder(x), atol=1e-6)
    assert (drawn - mean).std().item() == pytest.approx(1, rel=0.2)  # sigma starts at 1
    torch.nn.init.constant_(method.encoder.width.bias, -40.0)  # sigma = exp(-20)
    drawn, mean = method.encode(x)
    assert torch.allclose(drawn, mean, atol=1e-6)
    z = method.latents(4000, torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.std().item() == pytest.approx(1, rel=0.02)


def test_alis_discriminator_has_dropout_from_the_methods_randomness():
    method, x = method_of("ali", dropout=0.5), noise_pictures()
    z = torch.ones(BATCH, LATENT)
    once = upcoming(method, lambda: method.discriminate(x, z))
    assert torch.equal(method.discriminate(x, z), once)
    assert not torch.equal(method.discriminate(x, z), once)
