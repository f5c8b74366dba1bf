"""Datasets: one file each, found by name. See docs/adding-a-dataset.md for the contract."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visrec.data import archives, duplicates
from visrec.data.hdf5 import IMAGES, reading
from visrec.data.images import read_image_info, write_images
from visrec.errors import printable
from visrec.experiment import registry

log = logging.getLogger(__name__)


def prepare(
    name: str,
    size: int,
    options: Mapping[str, Any],
    files: Mapping[str, tuple[str | Path, str]],
    threads: int,
    out: str | Path,
) -> None:
    """Resize a dataset's images to size x size and write images.h5, with the duplicates found in it.

    Args:
        name: of the component.
        size: S, pixels.
        options: the component's options.
        files: its archives: name -> (path, checksum); all checksums are verified before an archive is opened.
        threads: that decode pictures.
        out: images.h5.

    Raises:
        UserError: there is no such dataset, or its source is missing, damaged or of another kind.
    """
    for path, checksum in files.values():
        archives.verify(path, checksum)
    paths = {key: Path(path) for key, (path, _) in files.items()}
    images = registry.load("datasets", name).read(size, options, paths, threads)
    write_images(out, images, size, lambda file: {"duplicates": duplicates.pairs(file)})
    info = read_image_info(out)
    log.info("%s at %d px: %s; %s", name, size, info.counts, info.split_rule)
    for image, reason in info.skipped:
        log.warning("left out %s: %s", printable(image), reason)
    with reading(out, IMAGES) as file:
        log.info("images with a duplicate elsewhere: %s", duplicates.count(file["duplicates"][:]))
