import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

from visrec import training
from visrec.errors import UserError
from visrec.networks import build
from visrec.training import Game, TrainingFiles, diagnose, learning_rate, real_batches, train

CPU = torch.device("cpu")
SPEC = {
    "lambda_z": 1000,
    "mu_x": 10,
    "iterations": 3,
    "batch": 8,
    "generator_steps": 2,
    "latent": 16,
    "architecture": "dcgan",
    "kl": "reference",
    "pixel_match": "l1",
    "learning_rate": 2e-4,
    "halve_every": 0,
    "precision": "fp32",
}


def pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def files(folder: Path) -> TrainingFiles:
    return TrainingFiles(
        folder / "encoder.safetensors",
        folder / "generator.safetensors",
        folder / "history.csv",
        folder / "samples.png",
        folder / "reconstructions.png",
        folder / "status.json",
    )


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


def test_learning_rate_halves_by_iterations():
    rates = [learning_rate(i, 2e-4, 10) for i in (0, 9, 10, 19, 20, 35)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 2.5e-5])
    assert learning_rate(10**6, 2e-4, 0) == 2e-4


def test_real_batches_cover_each_epoch_once_and_drop_the_rest():
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 3, 4, 4)
    batches = real_batches(images, 4, seed=0)
    epochs = [[round(float((value + 1) * 127.5)) for value in next(batches)[:, 0, 0, 0]] for _ in range(4)]
    for first, second in (epochs[:2], epochs[2:]):
        assert len(set(first + second)) == 8
    assert epochs[:2] != epochs[2:]


def test_a_training_writes_all_its_files_and_is_reproducible(tmp_path):
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        train(pictures(20), SPEC, 0, CPU, files(tmp_path / run))
    first = files(tmp_path / "one")
    for name in ("encoder.safetensors", "generator.safetensors", "samples.png", "reconstructions.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    history = pd.read_csv(first.history)
    assert history.iteration.tolist() == [1, 2, 3]
    healthy = history.variance_mean + history.mean_norm**2
    assert np.allclose(healthy, 1, atol=1e-4)  # on the sphere: sum_j v_j + ||m||^2 = 1
    assert ((history.variance_min <= history.variance_mean) & (history.variance_mean <= history.variance_max)).all()
    expected = history.kl_real - history.kl_fake + 10 * history.pixel_match
    assert np.allclose(history.loss_encoder, expected, rtol=1e-5)
    status = json.loads(first.status.read_text())
    assert (status["status"], status["iterations"], status["precision"]) == ("ok", 3, "fp32")
    assert status["parameters"]["encoder"] == sum(p.numel() for p in build(32, 16, "dcgan", 0)[0].parameters())
    weights = safetensors.torch.load_file(first.encoder)
    start = build(32, 16, "dcgan", 0)[0].state_dict()
    assert not torch.equal(weights["head.weight"], start["head.weight"])
    assert (weights["head.weight"] - start["head.weight"]).abs().max() < 4 * 2e-4  # Adam's steps are about its rate
    assert Image.open(first.samples).size == (16 * 34 + 2, 4 * 34 + 2)


def test_reconstructions_show_each_image_before_its_reconstruction(tmp_path):
    images = pictures(20)
    train(images, SPEC, 0, CPU, files(tmp_path))
    grid = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    assert np.abs(grid[2:34, 2:34].astype(int) - images[0].transpose(1, 2, 0).astype(int)).max() <= 1


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        train(pictures(20), SPEC, seed, CPU, files(tmp_path / str(seed)))
    a, b = (safetensors.torch.load_file(tmp_path / run / "encoder.safetensors") for run in "01")
    assert not torch.equal(a["head.weight"], b["head.weight"])


def test_divergence_is_a_result_with_all_files(tmp_path):
    train(pictures(20), SPEC | {"learning_rate": 1e30, "iterations": 50}, 0, CPU, files(tmp_path))
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "diverged"
    assert "is not finite at iteration" in status["reason"]
    assert status["iterations"] < 50
    assert len(list(tmp_path.iterdir())) == 6


def rows(count: int, step: int, **values) -> list[dict]:
    healthy = {"loss_encoder": 1.0, "variance_mean": 0.9, "sample_spread": 0.8}
    return [{"iteration": step * (i + 1), **healthy, **values} for i in range(count)]


def test_diagnose_calls_collapse_what_lasts():
    assert diagnose(rows(10, 200)) == ("ok", "")
    status, reason = diagnose(rows(10, 200, variance_mean=0.001))
    assert status == "collapsed"
    assert reason == "latents of real images have less than 1% of the healthy variance from iteration 1200 to 2000"
    assert diagnose(rows(10, 200, sample_spread=0.001))[0] == "collapsed"
    # one good reading within the last 1,000 iterations, or fewer than 1,000 iterations, or than three readings: not yet
    assert diagnose(
        rows(6, 200, variance_mean=0.001) + rows(10, 200)[6:7] + rows(10, 200, variance_mean=0.001)[7:]
    ) == (
        "ok",
        "",
    )
    assert diagnose(rows(30, 10, variance_mean=0.001))[0] == "ok"
    assert diagnose(rows(2, 2000, variance_mean=0.001))[0] == "ok"
    assert diagnose(rows(3, 2000, variance_mean=0.001))[0] == "collapsed"


def test_collapse_ends_training_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "COLLAPSED_BELOW", 2.0)
    monkeypatch.setattr(training, "COLLAPSED_ITERATIONS", 3)
    train(pictures(20), SPEC | {"iterations": 30}, 0, CPU, files(tmp_path))
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["iterations"]) == ("collapsed", 3)


def test_fewer_images_than_a_batch_is_one_line(tmp_path):
    with pytest.raises(UserError, match="batch of 8 images and got 7"):
        train(pictures(7), SPEC, 0, CPU, files(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_bf16_follows_fp32():
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    losses = [
        Game(SPEC | {"precision": name}, 32, 0, CPU).update_encoder(x)["loss"].item() for name in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_gpu_computes_what_the_cpu_does():
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    on_cpu, on_gpu = (Game(SPEC, 32, 0, torch.device(name)) for name in ("cpu", "cuda"))
    z = on_cpu.noise(8)  # the two devices' own generators draw different noise
    for game in (on_cpu, on_gpu):
        game.noise = lambda batch, game=game: z.to(game.device)
    assert on_gpu.update_encoder(x.cuda())["loss"].item() == pytest.approx(
        on_cpu.update_encoder(x)["loss"].item(), rel=1e-3
    )
