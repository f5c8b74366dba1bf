"""Trained encoders with narrow networks, and what each of their optimisers moves."""

from collections.abc import Mapping

import torch
from torch import Tensor
from training_fixture import CPU

from visrec.experiment import registry
from visrec.experiment.config import encoder_options
from visrec.training.method import Method, Setup, make

BATCH, LATENT = 8, 16


def method_of(name: str, **options) -> Method:
    """A method that is ready to train, with its defaults otherwise."""
    defaults = {option: schema["default"] for option, schema in encoder_options(name).items()}
    options = defaults | {"latent": LATENT, "batch": BATCH, "precision": "fp32", "iterations": 3} | options
    method = make(registry.load("encoders", name).Training, Setup(options, 32, 0, CPU))
    method.begin()
    return method


def noise_pictures() -> Tensor:
    """Images (B, 3, 32, 32) in [-1, 1]."""
    return torch.rand(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def moves(method: Method, images: Tensor) -> Mapping[str, set[str]]:
    """The networks that each optimiser moves in one step."""
    moved, update = {}, method.update

    def watched(name: str, loss: Tensor) -> None:
        before = {key: weight.detach().clone() for key, weight in method.named_parameters()}
        update(name, loss)
        after = method.named_parameters()
        moved[name] = {key.split(".")[0] for key, weight in after if not torch.equal(before[key], weight)}

    method.update = watched
    method.step(images, None)
    method.update = update
    return moved


def course(method: Method, images: Tensor, frozen: str = "", steps: int = 4) -> list[dict[str, float]]:
    """Readings of a few steps on the same images and the same noise; one optimiser may be kept from moving."""
    rows, state = [], method.random.get_state()
    for name, optimiser in method._optimisers.items():
        optimiser.param_groups[0]["lr"] = 0 if name == frozen else 1e-3
    for _ in range(steps):
        method.random.set_state(state)
        rows.append({key: value.item() for key, value in method.readings(method.step(images, None)).items()})
    return rows


def upcoming(method: Method, draw) -> Tensor:
    """What `draw()` gives, without using up the method's randomness."""
    state = method.random.get_state()
    drawn = draw()
    method.random.set_state(state)
    return drawn
