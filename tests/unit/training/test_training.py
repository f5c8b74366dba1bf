import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image
from training_fixture import files, pictures, run

from visrec.errors import UserError
from visrec.networks.bodies import build
from visrec.training import diagnosis
from visrec.training.loop import RealBatches, learning_rate


def test_learning_rate_halves_by_iterations():
    rates = [learning_rate(i, 2e-4, 10) for i in (0, 9, 10, 19, 20, 35)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 2.5e-5])
    assert learning_rate(10**6, 2e-4, 0) == 2e-4


def test_real_batches_cover_each_epoch_once_and_drop_the_rest():
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 3, 4, 4)
    batches = RealBatches(images, 4, seed=0)

    def seen(iteration):
        return [round(float((value + 1) * 127.5)) for value in batches[iteration][:, 0, 0, 0]]

    epochs = [seen(iteration) for iteration in (1, 2, 3, 4)]
    for first, second in (epochs[:2], epochs[2:]):
        assert len(set(first + second)) == 8
    assert epochs[:2] != epochs[2:]
    assert seen(2) == epochs[1]  # whatever was asked before
    assert RealBatches(images, 4, seed=1)[1].flatten().tolist() != batches[1].flatten().tolist()


def test_a_training_writes_all_its_files_and_is_reproducible(tmp_path):
    for name in ("one", "two"):
        run(tmp_path / name)
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
    run(tmp_path, images)
    grid = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    assert np.abs(grid[2:34, 2:34].astype(int) - images[0].transpose(1, 2, 0).astype(int)).max() <= 1


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        run(tmp_path / str(seed), seed=seed)
    a, b = (safetensors.torch.load_file(tmp_path / name / "encoder.safetensors") for name in "01")
    assert not torch.equal(a["head.weight"], b["head.weight"])


def test_divergence_is_a_result_with_all_files(tmp_path):
    run(tmp_path, learning_rate=1e30, iterations=50)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["status"] == "diverged"
    assert "is not finite at iteration" in status["reason"]
    assert status["iterations"] < 50
    assert len(list(tmp_path.iterdir())) == 6


def test_collapse_ends_training_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "COLLAPSED_BELOW", 2.0)
    monkeypatch.setattr(diagnosis, "COLLAPSED_ITERATIONS", 3)
    run(tmp_path, iterations=30)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["iterations"]) == ("collapsed", 3)


def test_fewer_images_than_a_batch_is_one_line(tmp_path):
    with pytest.raises(UserError, match="batch of 8 images and got 7"):
        run(tmp_path, pictures(7))
    assert list(tmp_path.iterdir()) == []
