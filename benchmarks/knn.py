"""The evaluator `knn` on a trial of full size: seconds and memory, in a process of its own.

Features resemble those of the benchmark of neighbours, in four layers of very different widths, as a stack has them.

    .venv/bin/python benchmarks/knn.py --rows 40000 10000 10000 --dims 4416 --threads 2
    .venv/bin/python benchmarks/knn.py --embeddings results/.../embeddings.h5 --threads 2
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from table import Figure, alone, machine

from neighbours import features

if TYPE_CHECKING:
    from visrec.data.embeddings import Embeddings

WIDTHS = (1 / 34, 2 / 34, 30 / 34)  # of the first layers; the output is what is left: one wide layer among narrow ones


def measured(rows: tuple[int, int, int], dims: int, transforms: list[str], train_queries: int) -> tuple[float, float]:
    """(seconds, peak memory in MB) of all scores; imports and the making of features are not timed."""
    import numpy as np

    from visrec.data.embeddings import Embeddings, EmbeddingSplit

    splits = {}
    for seed, (split, count) in enumerate(zip(("train", "val", "test"), rows, strict=True)):
        ids = np.array([f"{split}-{i}" for i in range(count)])
        splits[split] = EmbeddingSplit(features(count, dims, seed + 1), np.arange(count) % 10, ids)
    bounds = np.cumsum([0, *(int(dims * share) for share in WIDTHS), dims])
    bounds[-1] = dims
    layers = {f"layer{i}": slice(*bounds[i : i + 2]) for i in range(len(bounds) - 1)}
    return _scored(Embeddings(splits, layers, [str(label) for label in range(10)], "ok"), transforms, train_queries)


def measured_of(file: Path, transforms: list[str], train_queries: int) -> tuple[float, float]:
    """The same of a trial's own features; reading them is not timed."""
    from visrec.data.embeddings import read_embeddings

    return _scored(read_embeddings(file), transforms, train_queries)


def _scored(embeddings: "Embeddings", transforms: list[str], train_queries: int) -> tuple[float, float]:
    import torch

    from visrec.evaluators import knn

    options = {
        "k": [1, 3, 5, 10],
        "features": transforms,
        "distances": ["l2", "cosine"],
        "train_queries": train_queries,
    }
    began = time.perf_counter()
    knn.evaluate(embeddings, options, 0, torch.device("cpu"))
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures(threads: int) -> list[Figure]:
    """For `all.py`: a tenth of the pictures, an eighth of the values."""
    transforms = ["raw", "blocks", "standardised", "whitened"]
    seconds = statistics.median(alone(measured, (4000, 1000, 1000), 552, transforms, 0)[0] for _ in range(3))
    goal = "360 at ten times the pictures, 4,416 values"
    return [Figure("knn in eight spaces, 4,000 / 1,000 / 1,000 x 552", seconds, "s", goal)]


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=3, default=[40_000, 10_000, 10_000], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--dims", type=int, default=4416)
    parser.add_argument("--embeddings", type=Path, help="of a trial, in the place of features that are made")
    parser.add_argument("--features", nargs="+", default=["raw", "blocks", "standardised", "whitened"])
    parser.add_argument("--train-queries", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    if chosen.embeddings:
        what = str(chosen.embeddings)
        seconds, memory = alone(measured_of, chosen.embeddings, chosen.features, chosen.train_queries)
    else:
        what = f"{' / '.join(f'{count:,}' for count in chosen.rows)} x {chosen.dims:,}"
        seconds, memory = alone(measured, tuple(chosen.rows), chosen.dims, chosen.features, chosen.train_queries)
    spaces = f"{', '.join(chosen.features)}, each in L2 and cosine"
    print(f"{machine()}; {chosen.threads} threads")
    print(f"knn of {what}: {spaces}: {seconds:.0f} s, {memory:,.0f} MB at its peak")


if __name__ == "__main__":
    main()
