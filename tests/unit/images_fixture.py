"""A small images.h5 of random pictures: 7 / 2 / 3 in train, val and test, classes a, b and ç."""

import numpy as np

from visrec.data.images import ImageSet, ImageSource, write_images


def source(count: int, prefix: str, size: int = 8, batches: int = 2) -> ImageSource:
    rng = np.random.default_rng(len(prefix))
    pixels = rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return ImageSource(
        np.array_split(pixels, batches), np.arange(count) % 3, np.array([f"{prefix}{i}" for i in range(count)])
    )


def write(path, **changes):
    splits = {"train": source(7, "train"), "val": source(2, "val"), "test": source(3, "test")} | changes
    write_images(path, ImageSet(splits, ["a", "b", "ç"], "made up", "random"), 8)
    return splits
