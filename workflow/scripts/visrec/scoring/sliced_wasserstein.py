"""Sliced Wasserstein distance of two sets of images, on a Laplacian pyramid (Karras et al., arXiv:1710.10196)."""

import math

import numpy as np
from scipy.ndimage import convolve1d

SMALLEST = 16  # pixels, the last level of the pyramid
PATCH = 7
PATCHES = 128  # per image and level
DIRECTIONS = 512
DIRECTIONS_AT_ONCE = 32
FLAT = 1e-4  # a standard deviation of pixels in [-1, 1] that 8 bits cannot show


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Float [-1, 1] -> uint8, rounded: samples are compared in the 8 bits that real images have."""
    return ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def from_bytes(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """Sliced Wasserstein distance of two sets of images on a Laplacian pyramid: the mean of `level_distances`."""
    return float(np.mean([*level_distances(a, b, seed).values()]))


def level_distances(a: np.ndarray, b: np.ndarray, seed: int) -> dict[int, float]:
    """The sliced Wasserstein distance of each level of the pyramid, by its side in pixels, largest first.

    After Karras et al. (arXiv:1710.10196, section 5): from each level of each image patches of 7x7 pixels are taken,
    each set's channels are brought to mean 0 and standard deviation 1, and the distance is `sliced_distance` of the
    patches over 512 directions. Colour cast and contrast of a whole set are therefore not seen.

    What differs:
    - all images give their patches at the same random places, all of them where there are no more than 128 (at
      16 px: 100). Then the order of images does not matter and a set is at distance 0 from itself;
    - one draw of 512 directions, not 4 of 128, which is the same mean;
    - 2,048 images or fewer, not 16,384. The distance of two samples of one distribution is larger with fewer images;
    - a channel without contrast is centred and not divided;
    - no factor of 1000.

    Args:
        a: uint8 (N, 3, S, S).
        b: uint8 (N, 3, S, S), as many.
        seed: of places and directions.

    Returns:
        side -> distance in standard deviations of the level's pixels; NaN without images.

    Raises:
        ValueError: the two differ in shape.
    """
    if a.shape != b.shape:
        raise ValueError(f"as many images of one size are needed, not {a.shape} and {b.shape}")
    random = np.random.default_rng(seed)
    directions = random.normal(size=(DIRECTIONS, a.shape[1] * PATCH**2)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = {}
    for level_a, level_b in zip(*(laplacian_pyramid(from_bytes(each)) for each in (a, b)), strict=True):
        side = level_a.shape[-1]
        places = random.permutation((side - PATCH + 1) ** 2)[:PATCHES]
        distances[side] = sliced_distance(_descriptors(level_a, places), _descriptors(level_b, places), directions)
    return distances


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Burt and Adelson's pyramid (1983): what each halving loses, largest first, and the smallest image itself.

    The filter is (1, 4, 6, 4, 1) / 16 along both axes, mirrored at the borders; levels halve while 16 px remain.

    Args:
        images: float32 (N, C, S, S).

    Returns:
        float32 (N, C, S / 2^i, S / 2^i) for i = 0, 1, ...
    """
    levels = []
    while images.shape[-1] >= 2 * SMALLEST:
        smaller = _smooth(images)[..., ::2, ::2]
        spread = np.zeros_like(images)
        spread[..., ::2, ::2] = smaller
        levels.append(images - 4 * _smooth(spread))  # three pixels of four are the zeros between
        images = smaller
    return [*levels, images]


def _smooth(images: np.ndarray) -> np.ndarray:
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (-2, -1):
        images = convolve1d(images, kernel, axis, mode="mirror")
    return images


def _descriptors(level: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Normalised patches (N * places, C * 49) of a level float32 (N, C, S, S); a place numbers a top left corner."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(2, 3))
    patches = windows[:, :, *np.unravel_index(places, windows.shape[2:4])]  # (N, C, places, 7, 7)
    if patches.size:
        per_channel = {"axis": (0, 2, 3, 4), "dtype": np.float64, "keepdims": True}  # float32 would lose digits
        patches -= patches.mean(**per_channel).astype(np.float32)
        spread = np.sqrt(np.square(patches).mean(**per_channel))
        patches /= np.where(spread < FLAT, 1, spread).astype(np.float32)
    return patches.swapaxes(1, 2).reshape(-1, level.shape[1] * PATCH**2)


def sliced_distance(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Mean over directions of the 1-Wasserstein distance of the projections (Rabin et al., 2011).

    In one dimension, and for as many points, that is the mean absolute difference of the sorted values.

    Args:
        a: float32 (n, D).
        b: float32 (n, D).
        directions: float32 (m, D), of length 1.

    Returns:
        NaN for n = 0.
    """
    if not len(a):
        return math.nan
    total = 0.0
    for start in range(0, len(directions), DIRECTIONS_AT_ONCE):
        some = directions[start : start + DIRECTIONS_AT_ONCE]
        # numpy's sort, on the CPU also beside a GPU: it is quick on float32, and the same everywhere.
        total += np.abs(np.sort(some @ a.T, axis=1) - np.sort(some @ b.T, axis=1)).sum(dtype=np.float64)
    return float(total / (len(directions) * len(a)))
