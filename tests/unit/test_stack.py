import numpy as np
import pytest
import torch

from visrec.networks import build
from visrec.stack import extractor, reestimate_batchnorm, stack, to_unit_range

CPU = torch.device("cpu")


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def test_unit_range_by_hand():
    x = to_unit_range(torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1))
    assert x.flatten().tolist() == pytest.approx([-1, 1, -0.6])


@pytest.mark.parametrize(
    "size, widths", [(32, [64, 128, 256 * 16, 128]), (64, [128, 256, 512 * 16, 128])], ids=["4416", "8704"]
)
@pytest.mark.parametrize("architecture", ["dcgan", "reference"])
def test_widths_of_the_stack(size, widths, architecture):
    encoder, _ = build(size, 128, architecture, seed=0)
    layers = extractor(encoder, pictures(4, size), "running", "average", CPU)(pictures(3, size))
    assert [part.shape for part in layers.values()] == [(3, width) for width in widths]
    assert sum(widths) == {32: 4416, 64: 8704}[size]
    assert [*layers][-1] == "output"


def test_values_of_the_stack_by_hand():
    maps = [torch.arange(16.0).reshape(1, 1, 4, 4) * 0, *(torch.arange(4.0).reshape(1, 1, 2, 2) + i for i in range(3))]
    layers = stack(maps, torch.tensor([[9.0]]), "average")
    assert {name: part.tolist() for name, part in layers.items()} == {
        "hidden2": [[1.5]],
        "hidden3": [[2.5]],
        "hidden4": [[2.0, 3.0, 4.0, 5.0]],
        "output": [[9.0]],
    }
    assert stack(maps, torch.tensor([[9.0]]), "max")["hidden3"].tolist() == [[4.0]]


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


def test_an_embedding_does_not_depend_on_its_batch():
    images = pictures(20, 32)
    for mode in ("running", "reestimated"):
        encoder, _ = build(32, 8, "dcgan", seed=0)
        embed = extractor(encoder, images, mode, "average", CPU)
        together, alone = embed(images[:10]), embed(images[3:4])
        for name in together:
            assert np.allclose(together[name][3:4], alone[name], atol=1e-5)


def test_the_two_batchnorm_modes_differ():
    images = pictures(20, 32)
    features = [
        extractor(build(32, 8, "dcgan", seed=0)[0], images, mode, "average", CPU)(images)["hidden3"]
        for mode in ("running", "reestimated")
    ]
    assert np.abs(features[0] - features[1]).max() > 0.1
