"""How fast pictures become images.h5, beside a plain loop over Pillow, and how much memory that takes.

Makes small JPEGs in a temporary folder, which stay in the page cache: this measures decoding, not the disk. Each line
is measured in a process of its own, one after the other, so that each has its own peak memory.

    .venv/bin/python benchmarks/data.py --images 100000 --threads 8
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from table import Figure, alone

from visrec.data.images import write_images


def make(folder: Path, images: int, side: int) -> None:
    """Write JPEGs of random, smooth pictures, all different, into ten class folders."""
    rng = np.random.default_rng(0)
    for row in range(images):
        path = folder / f"class{row % 10}" / f"{row:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=75)


def imports(folder: Path, size: int, threads: int) -> None:
    """What `prepare` imports; its memory is in the lines below too."""


def plain(folder: Path, size: int, threads: int) -> None:
    """The loop that anybody would write, on one thread; the pixels are dropped."""
    for path in sorted(folder.rglob("*.jpg")):
        with Image.open(path) as picture:
            np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def decode(folder: Path, size: int, threads: int) -> None:
    """`visrec.data.pictures.decoded`; the pixels are dropped."""
    from visrec.data.pictures import decoded

    for _ in decoded([(path.name, path) for path in sorted(folder.rglob("*.jpg"))], size, threads):
        pass


def write(folder: Path, size: int, threads: int) -> None:
    """Dataset `image_folder`, from the folder to images.h5, without the search for duplicates."""
    from visrec.datasets import image_folder

    write_images(folder / "images.h5", image_folder.read(size, _options(folder), {}, threads), size)


def prepare(folder: Path, size: int, threads: int) -> None:
    """All that the rule `prepare` does, the search for duplicates included."""
    from visrec import datasets

    datasets.prepare("image_folder", size, _options(folder), {}, threads, folder / "images.h5")


def _options(folder: Path) -> dict[str, object]:
    from visrec.experiment import config

    return config.options({"datasets": {"image_folder": {"path": str(folder)}}}, "datasets", "image_folder")


def measured(stage: Callable, folder: Path, size: int, threads: int) -> tuple[float, float]:
    """(seconds, peak memory in MB) of a stage; imports are not timed."""
    if stage is not plain:
        from visrec.jobs.job import THREAD_VARIABLES

        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        import visrec.datasets.image_folder  # noqa: F401
    began = time.perf_counter()
    stage(folder, size, threads)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures(threads: int, images: int = 12_000, repeats: int = 3) -> list[Figure]:
    """For `all.py`: medians, the stages in turn; so many pictures are decoded by processes."""
    taken: dict[tuple[Callable, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), images, 128)
        for stage, count in [(plain, 1), (decode, 1), (decode, threads), (prepare, threads)] * repeats:
            taken.setdefault((stage, count), []).append(alone(measured, stage, Path(name), 64, count))
    rates = {key: images / statistics.median(seconds for seconds, _ in runs) for key, runs in taken.items()}
    peer = {"peer": "plain Pillow loop, 1 thread", "peer_value": rates[plain, 1], "more_is_better": True}
    memory = max(peak for _, peak in taken[prepare, threads])
    return [
        Figure("decode JPEGs of 128 px, 1 thread", rates[decode, 1], "img/s", "1 x", **peer),
        Figure(f"decode JPEGs of 128 px, {threads} threads", rates[decode, threads], "img/s", f"{threads} x", **peer),
        Figure(f"prepare {images:,} pictures, duplicates included", rates[prepare, threads], "img/s"),
        Figure(f"prepare {images:,} pictures, peak memory", memory, "MB", "under 2,000 at 1,000,000"),
    ]


def main() -> None:
    """Make the pictures, measure every stage and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000, help="number of JPEGs (%(default)s)")
    parser.add_argument("--side", type=int, default=128, help="their sides in pixels (%(default)s)")
    parser.add_argument("--size", type=int, default=64, help="of images.h5, in pixels (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="(%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, arguments.images, arguments.side)
        print(
            f"{arguments.images:,} JPEGs of {arguments.side} px to {arguments.size} px; load average before: "
            f"{os.getloadavg()[0]:.1f}"
        )
        print(f"{'':34}{'threads':>8}{'seconds':>10}{'images/s':>10}{'peak MB':>10}")
        for stage, label, threads in (
            (imports, "imports of visrec alone", 1),
            (plain, "plain Pillow loop, pixels dropped", 1),
            (decode, "decode, pixels dropped", 1),
            (decode, "decode, pixels dropped", arguments.threads),
            (write, "folder to images.h5", arguments.threads),
            (prepare, "rule prepare, with duplicates", arguments.threads),
        ):
            seconds, peak = alone(measured, stage, folder, arguments.size, threads)
            rate = "" if stage is imports else f"{arguments.images / seconds:,.0f}"
            print(f"{label:34}{threads:>8}{seconds:>10.1f}{rate:>10}{peak:>10.0f}", flush=True)


if __name__ == "__main__":
    main()
