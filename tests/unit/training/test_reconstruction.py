"""Reconstructions that a training reads on its way: right, and without any trace in it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import training_fixture
from training_fixture import CPU, OPTIONS, READINGS, files, pictures

from visrec.encoders.age import Training
from visrec.networks import bodies
from visrec.networks.stack import to_unit_range
from visrec.training.checkpoint import Checkpoints
from visrec.training.loop import Data, train
from visrec.training.method import Setup, make
from visrec.training.reconstruction import reconstruct, reconstruction_error


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", training_fixture.WIDTH)


def game():
    method = make(Training, Setup(OPTIONS, 32, 3, CPU))
    method.begin()
    with torch.no_grad():
        for name, buffer in method.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=method.random)  # so that running and batch statistics differ
    return method


def test_all_is_in_evaluation_mode_and_a_picture_alone_is_reconstructed_as_among_others():
    method, images = game(), to_unit_range(torch.from_numpy(pictures(6)))
    found = reconstruct(method, images)
    torch.testing.assert_close(torch.cat([reconstruct(method, image[None]) for image in images]), found)
    method.eval()
    with torch.no_grad():
        expected = method.generator(method.encoder(images))
    torch.testing.assert_close(found, expected)
    error = np.abs(expected.double().numpy() - images.double().numpy()).mean()
    assert float(reconstruction_error(game(), images)) == pytest.approx(error, rel=1e-5)


def test_it_leaves_no_trace():
    method = game()
    before, modes = method.state(), [module.training for module in method.modules()]
    reconstruct(method, to_unit_range(torch.from_numpy(pictures(6))))
    after = method.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert modes == [module.training for module in method.modules()]


def run(folder, unseen):
    folder.mkdir()
    checkpoints = Checkpoints(folder / "checkpoints", {}, 1000, minutes=60)
    setup = Setup(OPTIONS, 32, 0, CPU)
    train(Training, setup, Data(pictures(20), unseen=unseen), READINGS, files(folder), checkpoints)
    history = pd.read_csv(folder / "history.csv").drop(columns="images_per_second")
    return history, json.loads((folder / "status.json").read_text()), (folder / "model.safetensors").read_bytes()


def test_training_reads_it_and_goes_on_as_without(tmp_path):
    read, status, model = run(tmp_path / "read", pictures(5))
    plain, without, same = run(tmp_path / "plain", None)
    assert model == same
    pd.testing.assert_frame_equal(read.drop(columns="reconstruction_error"), plain)
    assert read["reconstruction_error"].between(0, 2).all()
    assert status["reconstruction_error"] == pytest.approx(read["reconstruction_error"].iloc[-1], abs=1e-12)
    assert without["reconstruction_error"] is None
