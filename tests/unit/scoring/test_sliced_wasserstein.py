import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures_fixture import pictures, smooth
from scipy import stats
from torch.nn import functional as F

from visrec.networks.stack import to_unit_range
from visrec.scoring import sliced_wasserstein as module


def test_one_dimension_by_hand():
    a, b = np.array([[3.0], [0.0], [1.0]], np.float32), np.array([[2.0], [6.0], [1.0]], np.float32)
    line = np.array([[1.0]], np.float32)
    assert module.sliced_distance(a, b, line) == pytest.approx((1 + 1 + 3) / 3)  # 0,1,3 beside 1,2,6
    assert module.sliced_distance(a, a + 5, line) == 5
    assert module.sliced_distance(a, a[::-1], -line) == 0


def test_a_shift_is_seen_along_each_direction():
    points = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    axes = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    shifted = points + np.array([3, -1], np.float32)
    assert module.sliced_distance(points, shifted, axes) == pytest.approx((3 + 1 + (1.8 - 0.8)) / 3, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 70), st.integers(0, 99))
def test_equals_scipys_distance_on_every_direction(rows, width, count, seed):  # 70: more directions than go at once
    random = np.random.default_rng(seed)
    a, b, directions = (random.normal(size=(n, width)).astype(np.float32) for n in (rows, rows, count))
    expected = np.mean([stats.wasserstein_distance(a @ each, b @ each) for each in directions])
    assert module.sliced_distance(a, b, directions) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_pyramid_of_a_constant_is_nothing_and_itself():
    levels = module.laplacian_pyramid(np.full((2, 3, 64, 64), 0.7, np.float32))
    assert [level.shape for level in levels] == [(2, 3, 64, 64), (2, 3, 32, 32), (2, 3, 16, 16)]
    for level, expected in zip(levels, (0, 0, 0.7), strict=True):
        assert np.allclose(level, expected, atol=1e-6)
    assert [level.shape[-1] for level in module.laplacian_pyramid(np.zeros((1, 3, 16, 16), np.float32))] == [16]


def test_pyramid_of_a_point_by_hand():
    image = np.zeros((1, 1, 32, 32), np.float32)
    image[0, 0, 10, 10] = 1
    fine, coarse = module.laplacian_pyramid(image)
    assert np.allclose(coarse[0, 0, 4:7, 4:7], np.outer([1, 6, 1], [1, 6, 1]) / 256)  # the kernel at even distances
    # Growing back gives along an axis (1, 6, 1)/16 at pixels 8, 10, 12; at 10: (1*1 + 6*6 + 1*1)/16 * 2/16
    assert fine[0, 0, 10, 10] == pytest.approx(1 - (38 / 128) ** 2)


def test_pyramid_equals_torch_convolutions():
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    kernel = torch.outer(kernel, kernel).expand(3, 1, 5, 5)
    small = F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=3)
    spread = F.conv_transpose2d(small, torch.ones(3, 1, 1, 1), stride=2, groups=3, output_padding=1)
    grown = F.conv2d(F.pad(spread, (2, 2, 2, 2), mode="reflect"), 4 * kernel, groups=3)
    fine, coarse = module.laplacian_pyramid(image.numpy())
    assert np.allclose(coarse, small.numpy(), atol=1e-6)
    assert np.allclose(fine, (image - grown).numpy(), atol=1e-6)


def test_a_set_is_at_no_distance_from_itself_and_its_order_does_not_matter():
    a, b = smooth(20), pictures(20, seed=1)
    assert module.level_distances(a, a, 0) == {32: 0, 16: 0}
    near = module.level_distances(a, b, 0)
    assert module.level_distances(a[::-1], b, 0) == pytest.approx(near, rel=1e-5)
    assert module.level_distances(a, a[::-1], 0) == pytest.approx({32: 0, 16: 0}, abs=1e-6)
    assert module.level_distances(b, a, 0) == pytest.approx(near, rel=1e-5)
    assert module.sliced_wasserstein(a, b, 0) == pytest.approx(np.mean([*near.values()]))
    assert module.level_distances(a, b, 0) == near  # by seed
    assert module.level_distances(a, b, 1) != near
    assert list(module.level_distances(smooth(2, size=64), smooth(2, size=64), 0)) == [64, 32, 16]


def test_other_pictures_are_farther_than_more_of_the_same():
    same = module.level_distances(smooth(60), smooth(60, seed=1), 0)
    other = module.level_distances(smooth(60), pictures(60), 0)
    one_picture = module.level_distances(smooth(60), smooth(1).repeat(60, axis=0), 0)
    for side in (32, 16):
        assert 0 < 1.5 * same[side] < min(other[side], one_picture[side])


def test_contrast_and_cast_of_a_set_are_not_seen_and_flat_sets_are_finite():
    a = smooth(10) // 2
    assert module.sliced_wasserstein(a, 2 * a + 1, 0) < 1e-4
    flat = np.full_like(a, 200)
    distances = module.level_distances(flat, a, 0)
    # Beside zeros, the mean absolute projection of what has mean square 1 per pixel: near E|N(0, 1)| = 0.8 at most
    assert all(0.2 < value < 1.5 for value in distances.values())
    assert module.level_distances(flat, flat // 2, 0) == {32: 0, 16: 0}


def test_the_distance_of_a_level_equals_a_plain_computation():
    """At 16 px all 100 places are used, so nothing but the directions is drawn."""
    a, b = pictures(3, 16), smooth(3, size=16, seed=5)
    random = np.random.default_rng(7)
    directions = random.normal(size=(512, 147)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    sets = []
    for images in (a, b):
        patches = F.unfold(to_unit_range(torch.from_numpy(images)).double().contiguous(), 7)  # (3, 147, 100)
        patches = patches.permute(0, 2, 1).reshape(300, 3, 49).numpy()
        sets.append(
            ((patches - patches.mean((0, 2), keepdims=True)) / patches.std((0, 2), keepdims=True)).reshape(300, 147)
        )
    expected = np.mean([stats.wasserstein_distance(sets[0] @ each, sets[1] @ each) for each in directions])
    assert module.level_distances(a, b, 7) == {16: pytest.approx(expected, rel=1e-5)}


def test_sets_of_two_shapes_are_refused_and_empty_ones_have_no_distance():
    with pytest.raises(ValueError, match="as many images"):
        module.level_distances(pictures(2), pictures(3), 0)
    assert math.isnan(module.sliced_wasserstein(pictures(0), pictures(0), 0))


# Reconstruction, RankMe, hubness


def test_bytes_there_and_back():
    every = np.arange(256, dtype=np.uint8)
    assert module.to_bytes(module.from_bytes(every)).tolist() == every.tolist()
    assert module.to_bytes(np.array([-1.1, 1.1, 0.0, -0.999])).tolist() == [0, 255, 128, 0]
