import pytest
import torch

from visrec.networks import bodies
from visrec.networks.critic import Critic, drop


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)


def test_every_pair_has_a_logit_that_depends_on_both():
    critic = Critic(32, 16, "dcgan").eval()
    x, z = torch.rand(3, 3, 32, 32), torch.rand(3, 16)
    logits = critic(x, z)
    assert logits.shape == (3,)
    assert (critic(x.flip(0), z) != logits)[[0, 2]].all()
    assert (critic(x, z.flip(0)) != logits)[[0, 2]].all()
    assert torch.allclose(critic(x.flip(0), z.flip(0)), logits.flip(0), atol=1e-6)


def test_all_its_weights_are_used():
    critic = Critic(32, 16, "dcgan")
    critic(torch.rand(3, 3, 32, 32), torch.rand(3, 16)).sum().backward()
    assert all(weight.grad is not None for weight in critic.parameters())


def test_its_body_is_no_copy_of_the_encoder():
    torch.manual_seed(0)
    critic, (encoder, _) = Critic(32, 16, "dcgan"), bodies.build(32, 512, "dcgan", 0)
    assert not torch.equal(critic.body.blocks[0][0].weight, encoder.blocks[0][0].weight)


def test_its_body_is_as_wide_as_it_is_told():
    one, two = (Critic(32, 16, "dcgan", width=width).body.blocks[0][0] for width in (1, 2))
    assert (one.out_channels, two.out_channels) == (8, 16)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    values = torch.full((100, 100), 3.0)
    dropped = drop(values, 0.25, torch.Generator().manual_seed(0))
    assert dropped.unique().tolist() == [0, 4]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert drop(values, 0, None) is values
