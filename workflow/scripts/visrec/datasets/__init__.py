"""Datasets: one file each, found by name. See docs/adding-a-dataset.md for the contract."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visrec import registry, store

log = logging.getLogger(__name__)


def prepare(name: str, size: int, options: Mapping[str, Any], out: str | Path) -> None:
    """Bring a dataset's images to size x size and write images.h5.

    Args:
        name: of the dataset.
        size: S, pixels.
        options: the dataset's options.
        out: images.h5.

    Raises:
        UserError: no such dataset, or its source is not as it should be.
    """
    images = registry.load("datasets", name).read(size, options)
    store.write_images(out, images, size)
    log.info("%s at %d px: %s", name, size, {split: len(part.ids) for split, part in images.splits.items()})
