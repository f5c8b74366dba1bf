import pytest
import safetensors.torch
import torch
from torch import nn
from training_fixture import CPU, OPTIONS, files, pictures

from visrec.training.checkpoint import Checkpoints
from visrec.training.loop import Data, train
from visrec.training.method import Method, Setup, make


class Small(Method):
    """A linear map with tied weights, a moving average and a frozen weight: what a method may keep."""

    def __init__(self, setup):
        super().__init__(setup)
        self.encoder = nn.Linear(12, 12, bias=False)
        self.again = nn.Linear(12, 12, bias=False)
        self.again.weight = self.encoder.weight
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.register_buffer("average", torch.zeros(()), persistent=False)

    def optimisers(self):
        return {"all": self.adam(self.encoder, self.frozen)}

    def step(self, images, labels):
        x = images.flatten(1)[:, :12] + torch.randn(len(images), 12, generator=self.random)
        loss = (self.again(self.encoder(x)) - self.frozen(x)).square().mean() + self.average
        self.update("all", loss)
        self.average.mul_(0.9).add_(0.1 * loss.detach())
        return {"loss": loss}


def run(folder, iterations=4, save_every=1000):
    options = OPTIONS | {"iterations": iterations}
    checkpoints = Checkpoints(folder / "checkpoints", {}, save_every, minutes=60)
    setup = Setup(options, 32, 0, CPU)
    train(Small, setup, Data(pictures(20)), {"loss": {"title": "Loss"}}, files(folder), checkpoints)


def test_everything_that_a_step_depends_on_is_saved_and_restored():
    method, again = (make(Small, Setup(OPTIONS, 32, 0, CPU)) for _ in range(2))
    x = torch.rand(8, 3, 32, 32)
    method.begin()
    again.begin()
    method.step(x, None)
    again.restore(method.state())
    assert again.average == method.average > 0
    assert again.step(x, None)["loss"] == method.step(x, None)["loss"]
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in method.state().items())


def test_tied_weights_are_written(tmp_path):
    run(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert torch.equal(weights["encoder.weight"], weights["again.weight"])


def test_an_optimiser_that_could_not_be_restored_is_refused(monkeypatch):
    monkeypatch.setattr(Small, "optimisers", lambda self: {"all": torch.optim.Adam(self.encoder.parameters())})
    with pytest.raises(ValueError, match=r"optimiser 'all' cannot be saved or captured: make it with `self.adam`"):
        make(Small, Setup(OPTIONS, 32, 0, CPU)).begin()


def test_adams_averages_follow_its_betas():
    method = make(Small, Setup(OPTIONS, 32, 0, CPU))
    method._optimisers = {"all": method.adam(method.encoder, betas=(0.25, 0.75))}
    method.update("all", method.encoder.weight.sum())  # every gradient is 1
    (averages,) = method._optimisers["all"].state.values()
    assert (averages["exp_avg"] == 0.75).all()
    assert (averages["exp_avg_sq"] == 0.25).all()


def test_weights_come_from_the_seed_alone_and_global_state_is_left():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one = make(Small, Setup(OPTIONS, 32, 1, CPU))
    assert torch.equal(torch.rand(1), before)
    again, other = (make(Small, Setup(OPTIONS, 32, seed, CPU)) for seed in (1, 2))
    assert torch.equal(one.encoder.weight, again.encoder.weight)
    assert not torch.equal(one.encoder.weight, other.encoder.weight)
