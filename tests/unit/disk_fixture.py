"""For tests on a disk that is full, see `small_disk`: imported by processes that need nothing else."""

import contextlib


def fill(folder):
    """Write into a folder until its disk is full."""
    with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
