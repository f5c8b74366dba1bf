import numpy as np
import pytest
import torch
from torch.nn import functional as F

from visrec.networks import stack as networks_stack
from visrec.networks.any_body import build_encoder
from visrec.networks.bodies import build
from visrec.networks.stack import POOLING, extractor, feature_maps, members, reestimate_batchnorm, stack, to_unit_range

CPU = torch.device("cpu")


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


class Source:
    """Training images in memory; `None` where they must not be read."""

    def __init__(self, images: np.ndarray | None):
        self.train = images

    def images(self, split: str) -> np.ndarray:
        assert split == "train"
        assert self.train is not None
        return self.train


def embedder(encoder, images, batchnorm, pooling):
    embed = extractor(feature_maps(encoder, Source(images), batchnorm, CPU), pooling)
    return lambda batch: embed(batch, np.full(len(batch), "an id"))


def test_unit_range_by_hand():
    x = to_unit_range(torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1))
    assert x.flatten().tolist() == pytest.approx([-1, 1, -0.6])


@pytest.mark.parametrize(
    "size, widths", [(32, [64, 128, 256 * 16, 128]), (64, [128, 256, 512 * 16, 128])], ids=["4416", "8704"]
)
@pytest.mark.parametrize("architecture", ["dcgan", "reference"])
def test_widths_of_the_stack(size, widths, architecture):
    encoder, _ = build(size, 128, architecture, seed=0)
    layers = embedder(encoder, None, "running", "average")(pictures(3, size))
    assert [part.shape for part in layers.values()] == [(3, width) for width in widths]
    assert sum(widths) == {32: 4416, 64: 8704}[size]
    assert [*layers][-1] == "output"


def test_stack_of_a_network_with_residuals():
    """Of four maps the last three; and its batch norms are re-estimated like any others."""
    encoder, images = build_encoder(32, 8, "resnet18", seed=0), pictures(4, 32)
    layers = embedder(encoder, images, "reestimated", "average")(images[:2])
    assert {name: part.shape for name, part in layers.items()} == {
        "hidden2": (2, 128),
        "hidden3": (2, 256),
        "hidden4": (2, 512 * 16),
        "output": (2, 8),
    }
    maps = F.conv2d(to_unit_range(torch.from_numpy(images)), encoder.stem[0].weight, padding=1)
    assert encoder.stem[1].running_mean.numpy() == pytest.approx(maps.mean(dim=(0, 2, 3)).detach().numpy(), abs=1e-5)


def test_values_of_the_stack_by_hand():
    hidden = [
        torch.arange(16.0).reshape(1, 1, 4, 4) * 0,
        *(torch.arange(4.0).reshape(1, 1, 2, 2) + i for i in range(3)),
    ]
    maps = {f"hidden{i}": each for i, each in enumerate(hidden, start=1)} | {"output": torch.tensor([[9.0]])}
    assert {name: part.tolist() for name, part in stack(maps, "average").items()} == {
        "hidden2": [[1.5]],
        "hidden3": [[2.5]],
        "hidden4": [[2.0, 3.0, 4.0, 5.0]],
        "output": [[9.0]],
    }
    assert stack(maps, "max")["hidden3"].tolist() == [[4.0]]


def test_members_of_the_stack():
    layers = ["hidden1", "hidden2", "hidden3", "hidden4", "output"]
    assert [*members(layers, "max").items()] == [
        ("hidden2", "max"),
        ("hidden3", "max"),
        ("hidden4", "flatten"),
        ("output", "flatten"),
    ]


def test_layers_are_stacked_in_their_order_and_not_in_that_of_their_names():
    maps = {f"hidden{i}": torch.full((1, 1, 2, 2), float(i)) for i in range(8, 12)} | {"output": torch.ones(1, 1)}
    assert [*stack(maps, "average")] == ["hidden9", "hidden10", "hidden11", "output"]


def test_poolings_by_hand():
    maps = torch.arange(64.0).reshape(1, 1, 8, 8)
    flat = POOLING["flatten"](maps)
    assert flat.tolist() == [list(range(64))]
    assert POOLING["average"](maps).tolist() == [[31.5]]
    assert POOLING["max"](maps).tolist() == [[63.0]]
    # Each cell of the grid is the mean of 2x2: 0, 1, 8 and 9 in the first, 2, 3, 10 and 11 in the second.
    grid = POOLING["grid"](maps)
    assert grid.shape == (1, 16)
    assert grid[0, :5].tolist() == [4.5, 6.5, 8.5, 10.5, 20.5]
    several = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(POOLING["grid"](several), F.avg_pool2d(several, 4).flatten(1), atol=1e-6)
    small = several[:, :, :4, :4]
    assert torch.equal(POOLING["grid"](small), POOLING["flatten"](small))


def test_order_of_flattened_values_does_not_depend_on_the_memory_format():
    maps = torch.arange(24.0).reshape(1, 6, 2, 2)
    last = maps.contiguous(memory_format=torch.channels_last)
    for pooling in POOLING.values():
        assert torch.equal(pooling(maps), pooling(last))


def test_feature_maps_are_all_hidden_maps_and_the_output():
    encoder, _ = build(64, 8, "dcgan", seed=0)
    images = pictures(3, 64)
    maps = feature_maps(encoder, Source(None), "running", CPU)(images)
    shapes = {name: tuple(each.shape) for name, each in maps.items()}
    assert shapes == {
        "hidden1": (3, 64, 32, 32),
        "hidden2": (3, 128, 16, 16),
        "hidden3": (3, 256, 8, 8),
        "hidden4": (3, 512, 4, 4),
        "output": (3, 8),
    }
    with torch.no_grad():
        assert torch.equal(maps["output"], encoder(to_unit_range(torch.from_numpy(images))))
    assert not any(each.requires_grad for each in maps.values())


def test_reestimated_statistics_are_those_of_the_images():
    encoder, _ = build(32, 8, "dcgan", seed=0)
    images = torch.from_numpy(pictures(40, 32))
    reestimate_batchnorm(encoder, images)
    with torch.no_grad():
        before = encoder.blocks[1][0](encoder.blocks[0](to_unit_range(images)))
    norm = encoder.blocks[1][1]
    assert torch.allclose(norm.running_mean, before.mean(dim=(0, 2, 3)), atol=1e-6)
    assert torch.allclose(norm.running_var, before.var(dim=(0, 2, 3)), rtol=1e-4)
    assert not encoder.training


def test_a_small_last_batch_is_left_out_of_the_statistics(monkeypatch):
    monkeypatch.setattr(networks_stack, "BATCH", 20)
    images = torch.from_numpy(pictures(45, 32))
    some, full = (build(32, 8, "dcgan", seed=0)[0] for _ in range(2))
    reestimate_batchnorm(some, images)
    reestimate_batchnorm(full, images[:40])
    assert torch.equal(some.blocks[1][1].running_mean, full.blocks[1][1].running_mean)
    assert torch.equal(some.blocks[1][1].running_var, full.blocks[1][1].running_var)


def test_an_embedding_does_not_depend_on_its_batch():
    images = pictures(20, 32)
    for mode in ("running", "reestimated"):
        encoder, _ = build(32, 8, "dcgan", seed=0)
        embed = embedder(encoder, images, mode, "average")
        together, alone = embed(images[:10]), embed(images[3:4])
        for name in together:
            assert np.allclose(together[name][3:4], alone[name], atol=1e-5)


def test_the_two_batchnorm_modes_differ():
    images = pictures(20, 32)
    features = [
        embedder(build(32, 8, "dcgan", seed=0)[0], images, mode, "average")(images)["hidden3"]
        for mode in ("running", "reestimated")
    ]
    assert np.abs(features[0] - features[1]).max() > 0.1
