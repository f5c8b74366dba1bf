import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from training_fixture import CPU, SPEC

from visrec.jobs import job
from visrec.networks import bodies
from visrec.training import diagnosis
from visrec.training import game as games
from visrec.training.game import CapturedGame, Game, prepare
from visrec.training.loop import RealBatches

# The two games written plainly in float64: their own formulas, their own forward through the nets, autograd's gradient.


def plain_kl(e, kl):
    mean = e.sum(0) / len(e)
    variance = ((e - mean) ** 2).sum(0) / len(e)
    if kl == "exact":
        sigma = variance**0.5
        return 2 / e.shape[1] * ((sigma**2 + mean**2) / 2 - torch.log(sigma) - 1 / 2).sum()
    return ((variance**2 + mean**2) / 2 - torch.log(variance) - 1 / 2).sum() / e.shape[1]


def plain_encoder_loss(e, g, x, z, spec):
    e_x = e(x)
    difference = g(e_x) - x
    pixel = difference.abs().mean() if spec["pixel_match"] == "l1" else (difference**2).mean()
    return plain_kl(e_x, spec["kl"]) - plain_kl(e(g(z).detach()), spec["kl"]) + spec["mu_x"] * pixel


def plain_generator_loss(e, g, z, spec):
    e_z = e(g(z))
    return plain_kl(e_z, spec["kl"]) + spec["lambda_z"] * (2 - (e_z * z).sum() / z.numel())


class Double:
    """A copy of a net in float64 whose latents are not rounded to float32 on the way."""

    def __init__(self, net):
        self.net = copy.deepcopy(net).double()

    def __call__(self, x):
        if hasattr(self.net, "head"):
            last = self.net.hidden(x)[-1]
            h = self.net.head(last).mean(dim=(2, 3))
            return h / (h**2).sum(1, keepdim=True) ** 0.5
        return self.net(x)

    def gradient(self):
        return torch.cat([parameter.grad.flatten() for parameter in self.net.parameters()])


def gradient(net):
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


@pytest.fixture(params=["reference l1", "exact l2"])
def game(request):
    kl, pixel_match = request.param.split()
    game = Game(SPEC | {"kl": kl, "pixel_match": pixel_match}, 32, 0, CPU)
    # Far from the first iteration's near-zero activations, where float32 leaves few digits.
    for net in (game.encoder, game.generator):
        for parameter in net.parameters():
            parameter.data.mul_(2.5)
    return game


def test_encoder_game_against_plain_float64(game):
    e, g = Double(game.encoder), Double(game.generator)
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    state = game.noise_source.get_state()
    z = game.noise(8)
    game.noise_source.set_state(state)
    expected = plain_encoder_loss(e, g, x.double(), z.double(), game.spec)
    expected.backward()
    game.set_learning_rate(0)
    loss = game.update_encoder(x)["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.nn.functional.cosine_similarity(gradient(game.encoder).double(), e.gradient(), dim=0) > 0.9999
    assert gradient(game.encoder).norm().item() == pytest.approx(e.gradient().norm().item(), rel=1e-3)
    assert all(parameter.grad is None for parameter in game.generator.parameters())


def test_generator_game_against_plain_float64(game):
    e, g = Double(game.encoder), Double(game.generator)
    state = game.noise_source.get_state()
    z = game.noise(8)
    game.noise_source.set_state(state)
    expected = plain_generator_loss(e, g, z.double(), game.spec)
    expected.backward()
    game.set_learning_rate(0)
    loss = game.update_generator(8)["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.nn.functional.cosine_similarity(gradient(game.generator).double(), g.gradient(), dim=0) > 0.9999
    assert gradient(game.generator).norm().item() == pytest.approx(g.gradient().norm().item(), rel=1e-3)
    assert all(parameter.grad is None for parameter in game.encoder.parameters())


def test_each_update_moves_its_own_net_downhill(game):
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    state = game.noise_source.get_state()
    for update, own, other in (
        (lambda: game.update_encoder(x), game.encoder, game.generator),
        (lambda: game.update_generator(8), game.generator, game.encoder),
    ):
        game.set_learning_rate(1e-5)
        own_before, other_before = copy.deepcopy(own.state_dict()), [p.clone() for p in other.parameters()]
        game.noise_source.set_state(state)
        before = update()["loss"].item()
        game.set_learning_rate(0)
        game.noise_source.set_state(state)
        assert update()["loss"].item() < before
        assert any(not torch.equal(own_before[name], value) for name, value in own.state_dict().items())
        assert all(torch.equal(a, b) for a, b in zip(other_before, other.parameters(), strict=True))


def test_noise_is_fresh_and_on_the_sphere():
    game = Game(SPEC, 32, 0, CPU)
    one, two = game.noise(100), game.noise(100)
    assert torch.allclose(one.norm(dim=1), torch.ones(100), atol=1e-6)
    assert not torch.equal(one, two)
    assert one.mean(dim=0).abs().max() < 0.1


def test_bf16_follows_fp32():
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    losses = [
        Game(SPEC | {"precision": name}, 32, 0, CPU).update_encoder(x)["loss"].item() for name in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def course(precision: str, layout: torch.memory_format, seed: int, steps: int) -> np.ndarray:
    """Means of four measures over the second half of a training on digits."""
    digits = torch.from_numpy(load_digits().images)[:, None].expand(-1, 3, -1, -1) * (255 / 16)
    images = torch.nn.functional.interpolate(digits, size=32, mode="bilinear").to(torch.uint8)
    spec = SPEC | {"batch": 16, "precision": precision}
    batches, game = RealBatches(images, 16, seed), Game(spec, 32, seed, CPU)
    for net in (game.encoder, game.generator):
        net.to(memory_format=layout)
    rows = []
    for iteration in range(1, steps + 1):
        encoder_terms = game.update_encoder(batches[iteration].contiguous(memory_format=layout))
        for _ in range(2):
            generator_terms = game.update_generator(16)
        if iteration > steps // 2:
            rows.append(diagnosis.reading(encoder_terms, generator_terms))
    return np.array(
        [[row[name] for name in ("kl_real", "kl_fake", "pixel_match", "latent_match")] for row in rows]
    ).mean(0)


FACTOR = 2


def assert_bf16_stays_near_fp32() -> None:
    """After 200 iterations bf16 is within FACTOR times the spread between fp32's seeds and memory layouts."""
    plain, last = torch.contiguous_format, torch.channels_last
    fp32 = np.array([[course("fp32", layout, seed, 200) for layout in (plain, last)] for seed in range(3)])
    bf16 = np.array([course("bf16", last, seed, 200) for seed in range(3)])
    spread = np.ptp(fp32.reshape(-1, 4), axis=0)
    assert (np.abs(bf16 - fp32[:, 1]) <= FACTOR * spread).all(), (bf16, fp32)


def test_bf16_stays_near_fp32(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)
    assert_bf16_stays_near_fp32()


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_bf16_stays_near_fp32_at_full_width():
    assert_bf16_stays_near_fp32()


def test_a_state_put_back_makes_the_same_iterations(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", 8)
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    game = Game(SPEC, 32, 0, CPU)
    game.update_encoder(x)
    state = game.state()
    first = [game.update_encoder(x)["loss"], game.update_generator(8)["loss"], game.update_encoder(x)["loss"]]
    game.load(state)
    assert [game.update_encoder(x)["loss"], game.update_generator(8)["loss"], game.update_encoder(x)["loss"]] == first
    for name in state:
        game.load(state)
        with pytest.raises(KeyError, match=name):
            game.load({key: value for key, value in state.items() if key != name})


def test_where_cuda_graphs_do_not_work_training_goes_on_without_them_and_says_so(monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(games, "CapturedGame", broken)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(games, "Game", lambda spec, size, seed, device: "plain")
    assert prepare(SPEC, 32, 0, torch.device("cuda")) == "plain"
    assert "CUDA graphs do not work here (operation not permitted when stream is capturing)" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_gpu_computes_what_the_cpu_does():
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    on_cpu, on_gpu = (Game(SPEC, 32, 0, job.device(name)) for name in ("cpu", "cuda"))
    z = on_cpu.noise(8)  # the two devices' own generators draw different noise
    for game in (on_cpu, on_gpu):
        game.noise = lambda batch, game=game: z.to(game.device)
    assert on_gpu.update_encoder(x.cuda())["loss"].item() == pytest.approx(
        on_cpu.update_encoder(x)["loss"].item(), rel=1e-3
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_captured_updates_are_the_plain_ones(precision):
    device = job.device("cuda")
    spec = SPEC | {"precision": precision}
    plain, captured = Game(spec, 32, 0, device), CapturedGame(spec, 32, 0, device)
    for iteration in range(5):
        x = torch.rand(8, 3, 32, 32, device=device).to(memory_format=torch.channels_last) * 2 - 1
        for game in (plain, captured):
            game.set_learning_rate(2e-4 / (iteration + 1))
            game.update_encoder(x)
            game.update_generator(8)
            game.update_generator(8)
    one, other = plain.state(), captured.state()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_state_put_into_captured_updates_makes_the_same_iterations():
    device = job.device("cuda")
    x = torch.rand(8, 3, 32, 32, device=device).to(memory_format=torch.channels_last) * 2 - 1
    first = CapturedGame(SPEC, 32, 0, device)
    first.update_encoder(x)
    state = first.state()
    again = CapturedGame(SPEC, 32, 1, device)
    again.load(state)
    for game in (first, again):
        game.update_generator(8)
        game.update_encoder(x)
    one, other = first.state(), again.state()
    assert all(torch.equal(one[name], other[name]) for name in one)
