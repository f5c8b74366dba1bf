import json
import math

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from training_fixture import CPU, OPTIONS, WIDTH, files, pictures, run

from visrec.encoders.age import READINGS, Training
from visrec.errors import UserError
from visrec.networks import bodies
from visrec.networks.bodies import build
from visrec.training import loop, readings
from visrec.training.batches import Batches
from visrec.training.course import Course
from visrec.training.loop import learning_rate
from visrec.training.method import Setup, make


@pytest.fixture(scope="module", autouse=True)
def narrow_networks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WIDTH", WIDTH)
        yield


def test_a_halved_learning_rate_halves_by_iterations():
    options = {"learning_rate": 2e-4, "schedule": "halved", "halve_every": 10}
    rates = [learning_rate(i, options) for i in (0, 9, 10, 19, 20, 35)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 2.5e-5])
    assert learning_rate(10**6, options | {"halve_every": 0}) == 2e-4


def test_a_cosine_learning_rate_warms_up_and_ends_near_zero():
    options = {"learning_rate": 0.8, "schedule": "cosine", "halve_every": 0, "iterations": 100}
    rates = [learning_rate(i, options) for i in range(100)]
    assert rates[:3] == pytest.approx([0.8 / 11, 1.6 / 11, 2.4 / 11])  # a straight line towards the eleventh
    assert rates[10] == pytest.approx(0.8)
    assert rates[55] == pytest.approx(0.4)  # half of the cosine
    assert rates[99] == pytest.approx(0.4 * (1 + np.cos(np.pi * 89 / 90)))
    assert max(rates) == rates[10]


def test_batches_cover_each_epoch_once_and_drop_the_rest():
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 3, 4, 4)
    batches = Batches(images, torch.arange(10), 4, seed=0)

    def seen(iteration):
        pixels, labels = batches[iteration]
        values = [round(float((value + 1) * 127.5)) for value in pixels[:, 0, 0, 0]]
        assert labels.tolist() == values  # the label of each image, whatever the order
        return values

    epochs = [seen(iteration) for iteration in (1, 2, 3, 4)]
    for first, second in (epochs[:2], epochs[2:]):
        assert len(set(first + second)) == 8
    assert epochs[:2] != epochs[2:]
    assert seen(2) == epochs[1]  # whatever was asked before
    other, none = Batches(images, None, 4, seed=1)[1]
    assert none is None
    assert other.flatten().tolist() != batches[1][0].flatten().tolist()


def test_a_training_writes_all_its_files_and_is_reproducible(tmp_path):
    for name in ("one", "two"):
        run(tmp_path / name)
    first = files(tmp_path / "one")
    assert first.model.read_bytes() == files(tmp_path / "two").model.read_bytes()
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
    weights = safetensors.torch.load_file(first.model)
    start = build(32, 16, "dcgan", 0)[0].state_dict()
    assert not torch.equal(weights["encoder.head.weight"], start["head.weight"])
    moved = (weights["encoder.head.weight"] - start["head.weight"]).abs().max()
    assert moved < 4 * 2e-4  # Adam's steps are about its rate
    assert status["parameters"].keys() == {"encoder", "generator"}


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        run(tmp_path / str(seed), seed=seed)
    a, b = (safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in "01")
    assert not torch.equal(a["encoder.head.weight"], b["encoder.head.weight"])


def test_divergence_is_a_result_with_all_files(tmp_path):
    run(tmp_path, learning_rate=1e30, iterations=50)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "diverged"
    assert "is not finite at iteration" in status["reason"]
    assert status["iterations"] < 50
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoints", "history.csv", "model.safetensors", "status.json",
    ]  # fmt: skip
    weights = (tmp_path / "model.safetensors").read_bytes()
    for name in ("history.csv", "model.safetensors", "status.json"):
        (tmp_path / name).unlink()  # as Snakemake does where clocks differ
    run(tmp_path, learning_rate=1e30, iterations=50)
    again = json.loads((tmp_path / "status.json").read_text())
    assert [again[name] for name in ("status", "iterations", "reason")] == [
        status[name] for name in ("status", "iterations", "reason")
    ]
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_collapse_ends_training_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setitem(READINGS["variance_mean"], "collapse_below", 2.0)
    monkeypatch.setattr(readings, "COLLAPSED_ITERATIONS", 3)
    run(tmp_path, iterations=30)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["iterations"]) == ("collapsed", 3)
    assert status["reason"] == "variance_mean was below 2 from iteration 1 to 3"


def test_weights_that_the_last_update_ruins_are_a_divergence(tmp_path, monkeypatch):
    """The readings of an iteration are of before its update."""
    step = Training.step

    def ruined(self, *batch):
        terms = step(self, *batch)
        if self.progress > 0.6:
            next(self.encoder.parameters()).data.fill_(math.inf)
        return terms

    monkeypatch.setattr(Training, "step", ruined)
    run(tmp_path, iterations=3, average=0)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["iterations"], status["batch"]) == ("diverged", 3, 8)
    assert status["reason"] == "encoder.blocks.0.0.weight is not finite after the last update"


def test_going_on_with_other_threads_is_said(caplog):
    course = Course(starts=1, threads=99, torch_version=torch.__version__)
    course.start()
    assert f"with 99 threads and torch {torch.__version__}, goes on with {torch.get_num_threads()}" in caplog.text
    caplog.clear()
    course.start()
    assert caplog.text == ""


def test_fewer_images_than_a_batch_is_one_line(tmp_path):
    with pytest.raises(UserError, match="batch of 8 images and got 7"):
        run(tmp_path, pictures(7))
    assert list(tmp_path.iterdir()) == []


def test_a_step_is_made_at_its_own_share_of_the_training_and_its_own_learning_rate(tmp_path, monkeypatch):
    seen, step = [], Training.step

    def watched(self, *batch):
        rates = {group["lr"] for optimiser in self._optimisers.values() for group in optimiser.param_groups}
        seen.append((float(self.progress), *rates))
        return step(self, *batch)

    monkeypatch.setattr(Training, "step", watched)
    run(tmp_path, iterations=4, learning_rate=8e-4, halve_every=1)
    assert seen == [(0, 8e-4), (0.25, 4e-4), (0.5, 2e-4), (0.75, 1e-4)]
    assert pd.read_csv(files(tmp_path).history).learning_rate.tolist() == [8e-4, 4e-4, 2e-4, 1e-4]


def test_the_last_iteration_is_read_whatever_is_left_of_an_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "ROWS", 2)  # every third of five
    run(tmp_path, iterations=5)
    assert pd.read_csv(files(tmp_path).history).iteration.tolist() == [3, 5]


def test_weight_decay_is_decoupled_from_the_gradient():
    """AdamW: w shrinks by rate * decay * w besides Adam's step, which from a zero gradient is none."""
    method = make(Training, Setup(OPTIONS | {"weight_decay": 0.5, "learning_rate": 0.1}, 32, 0, CPU))
    method.begin()
    before = method.encoder.head.weight.detach().clone()
    method.update("encoder", 0 * sum(weight.sum() for weight in method.encoder.parameters()))
    assert torch.allclose(method.encoder.head.weight, before * (1 - 0.1 * 0.5))


def test_an_update_gives_no_other_network_gradients():
    method = make(Training, Setup(OPTIONS, 32, 0, CPU))
    method.begin()
    method.update("encoder", method.decode(method.encoder(torch.randn(4, 3, 32, 32))).square().mean())
    assert all(weight.grad is not None for weight in method.encoder.parameters())
    assert all(weight.grad is None for weight in method.generator.parameters())
