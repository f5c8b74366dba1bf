"""An average of weights: its formula, that a training does not notice it, and that all reads and files are its."""

import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import training_fixture
from training_fixture import CPU, OPTIONS, READINGS, files, pictures, run

from visrec.encoders.age import Training
from visrec.networks import bodies
from visrec.networks.stack import to_unit_range
from visrec.training.average import Average
from visrec.training.checkpoint import Checkpoints
from visrec.training.loop import Data, train
from visrec.training.method import Setup, make
from visrec.training.reconstruction import reconstruction_error

SETUP = Setup(OPTIONS, 32, 0, CPU)
HEAD = "encoder.head.weight"
MEAN = "generator.blocks.0.1.running_mean"
COUNT = "generator.blocks.0.1.num_batches_tracked"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(bodies, "WIDTH", training_fixture.WIDTH)


def test_it_follows_fast_at_first_and_then_at_its_decay():
    method, average = make(Training, SETUP), Average(Training, SETUP, decay=0.25)
    start = method.state_dict()[HEAD].double().clone()
    for iteration, value in enumerate((1.0, 2.0, 6.0, -1.0), start=1):
        with torch.no_grad():
            for name in (HEAD, MEAN):
                method.state_dict()[name].fill_(value)
            method.state_dict()[COUNT].fill_(iteration)
        average.follow(method, iteration)
    # d = 1/10, 2/11, 3/12, and 4/13 would be more than the decay
    found, expected = average.method.state_dict(), start
    for decay, value in ((1 / 10, 1), (2 / 11, 2), (1 / 4, 6), (1 / 4, -1)):
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(found[HEAD].double(), expected, rtol=1e-6, atol=1e-6)
    mean = ((((1 - 1 / 10) * 1) * 2 / 11 + 9 / 11 * 2) / 4 + 3 / 4 * 6) / 4 - 3 / 4  # it starts at 0
    assert found[MEAN].tolist() == pytest.approx([mean] * len(found[MEAN]))
    assert found[COUNT].item() == 4


def test_it_has_the_methods_own_weights_before_the_first_iteration_and_shares_none():
    method, average = make(Training, SETUP), Average(Training, SETUP, decay=0.9)
    for name, tensor in average.method.state_dict().items():
        assert torch.equal(tensor, method.state_dict()[name])
        assert tensor.data_ptr() != method.state_dict()[name].data_ptr()
    assert not any(module.training for module in average.method.modules())


def test_a_training_writes_its_average_and_goes_on_as_without(tmp_path):
    """Both make the same steps, so the average can be worked out from weights after each iteration."""
    for length in (1, 2, 3):
        run(tmp_path / str(length), iterations=length, average=0)
    run(tmp_path / "average", iterations=3, average=0.15)
    read = [pd.read_csv(files(tmp_path / name).history).drop(columns="images_per_second") for name in ("3", "average")]
    pd.testing.assert_frame_equal(*read)
    weights = [safetensors.torch.load_file(files(tmp_path / str(length)).model)[HEAD].double() for length in (1, 2, 3)]
    expected = make(Training, SETUP).state_dict()[HEAD].double()
    for decay, now in zip((0.1, 0.15, 0.15), weights, strict=True):
        expected = decay * expected + (1 - decay) * now
    written = safetensors.torch.load_file(files(tmp_path / "average").model)
    torch.testing.assert_close(written[HEAD].double(), expected, rtol=1e-5, atol=1e-7)
    assert written.keys() == make(Training, SETUP).state_dict().keys()


def test_the_reconstruction_error_is_that_of_the_average(tmp_path):
    unseen, setup = pictures(5), Setup(OPTIONS | {"average": 0.5}, 32, 0, CPU)
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, 1000, minutes=60)
    train(Training, setup, Data(pictures(20), unseen=unseen), READINGS, files(tmp_path), checkpoints)
    method = make(Training, setup)
    method.load_state_dict(safetensors.torch.load_file(files(tmp_path).model))
    error = reconstruction_error(method, to_unit_range(torch.from_numpy(unseen))).item()
    assert json.loads(files(tmp_path).status.read_text())["reconstruction_error"] == pytest.approx(error, rel=1e-6)
    assert np.isfinite(error)


def test_a_state_put_back_is_the_average_again():
    method, average, other = make(Training, SETUP), Average(Training, SETUP, 0.5), Average(Training, SETUP, 0.5)
    with torch.no_grad():
        method.state_dict()[HEAD].add_(1)
    average.follow(method, 20)
    state = average.state()
    other.restore(state)
    for name, tensor in average.method.state_dict().items():
        assert torch.equal(tensor, other.method.state_dict()[name])
    with pytest.raises(KeyError, match=r"encoder\.head\.weight"):
        other.restore({name: tensor for name, tensor in state.items() if name != "average." + HEAD})
