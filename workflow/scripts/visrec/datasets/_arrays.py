"""Batches of pictures from archives that contain arrays, not picture files."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

ROWS = 1024


def batches(pixels: np.ndarray, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Some pictures of an array, resized with Pillow's bilinear filter if they have another size.

    Args:
        pixels: uint8 (N, 3, H, W), RGB.
        rows: int (n,), in the order to yield.
        size: S, pixels.

    Yields:
        uint8 (n, 3, S, S), RGB.
    """
    for start in range(0, len(rows), ROWS):
        batch = np.ascontiguousarray(pixels[rows[start : start + ROWS]])
        yield batch if batch.shape[2:] == (size, size) else np.stack([_resized(each, size) for each in batch])


def _resized(picture: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(picture.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
