"""Exact k-NN beside scikit-learn's brute force and faiss, and how its cost grows.

Each contender works in a process of its own, so that each has its own peak memory; they take turns, so that what else
the machine does hits all alike. Features resemble those of an encoder: correlated, with a falling spectrum. faiss is
not part of the environment: `make bench-eval` adds it.

    .venv/bin/python benchmarks/neighbours.py --rows 5000 20000 70000 --dims 128 4416 --threads 2
"""

import argparse
import importlib.util
import os
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from table import Figure, alone
from tqdm import tqdm

K = 100


def features(rows: int, dims: int, seed: int) -> np.ndarray:
    """float32 (rows, dims): a common random map of 64 directions with a falling spectrum, and noise."""
    axes = np.random.default_rng(0).normal(size=(64, dims)).astype(np.float32)
    rng = np.random.default_rng(seed)
    found = (rng.normal(size=(rows, 64)) / np.sqrt(1 + np.arange(64))).astype(np.float32) @ axes
    for start in range(0, rows, 1024):
        found[start : start + 1024] += rng.normal(size=found[start : start + 1024].shape).astype(np.float32)
    return found


def nothing(queries: np.ndarray, gallery: np.ndarray) -> None:
    """Only the features in memory: what the others' memory begins with."""


def ours(queries: np.ndarray, gallery: np.ndarray) -> None:
    """`visrec.scoring.neighbours`, the 100 nearest with all ties."""
    from visrec.scoring import neighbours

    for _ in neighbours.tiles(queries, gallery, K):
        pass


def ranked(queries: np.ndarray, gallery: np.ndarray) -> None:
    """The same with the exact distances to the whole gallery, as R-precision and MAP@R need them."""
    from visrec.scoring.neighbours import Searched, Space

    searched = Searched.of(gallery, [queries], [slice(None)])
    for _ in searched.tiles(searched.queries(queries), [(Space((1.0,), "l2"), K)]):
        pass


def scikit_learn(queries: np.ndarray, gallery: np.ndarray) -> None:
    """scikit-learn, algorithm="brute"."""
    from sklearn.neighbors import NearestNeighbors

    NearestNeighbors(n_neighbors=K, algorithm="brute").fit(gallery).kneighbors(queries)


def faiss_flat(queries: np.ndarray, gallery: np.ndarray) -> None:
    """faiss, IndexFlatL2."""
    import faiss

    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    index.search(queries, K)


def measured(contender: Callable, rows: int, dims: int, queries: int) -> tuple[float, float]:
    """(seconds, peak memory in MB); imports and the making of features are not timed."""
    import sklearn.neighbors  # noqa: F401

    gallery, asked = features(rows, dims, 1), features(queries, dims, 2)
    contender(asked[:8], gallery[: 2 * K])  # warm up
    began = time.perf_counter()
    contender(asked, gallery)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures(threads: int, rows: int = 20_000, dims: int = 1024, repeats: int = 3) -> list[Figure]:
    """For `all.py`: medians, the contenders in turn."""
    taken = {ours: [], ranked: [], scikit_learn: []}
    for contender in [*taken] * repeats:
        taken[contender].append(alone(measured, contender, rows, dims, 500)[0])
    seconds = {contender: statistics.median(runs) for contender, runs in taken.items()}
    what = f"of 500 queries in {rows:,} x {dims:,}"
    peer = {"peer": "scikit-learn, brute", "peer_value": seconds[scikit_learn]}
    return [
        Figure(f"{K} neighbours {what}, ties included", seconds[ours], "s", "2 x", **peer),
        Figure(f"distances {what} to all", seconds[ranked], "s", **peer),
    ]


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 20_000, 70_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 4416])
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    contenders = [ours, ranked, scikit_learn]
    if importlib.util.find_spec("faiss"):
        contenders.append(faiss_flat)
    print(f"{chosen.queries} queries, {K} neighbours, {chosen.threads} threads, median of {chosen.repeats}\n")
    print("| rows | values | contender | seconds | beside scikit-learn | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    cases = [(rows, dims) for dims in chosen.dims for rows in chosen.rows]
    with tqdm(total=len(cases) * chosen.repeats * (len(contenders) + 1), unit="run") as bar:
        for rows, dims in cases:
            found: dict[str, list[tuple[float, float]]] = {}
            for contender in [each for _ in range(chosen.repeats) for each in (nothing, *contenders)]:
                result = alone(measured, contender, rows, dims, chosen.queries)
                found.setdefault(contender.__name__, []).append(result)
                bar.update()
            seconds = {name: statistics.median(time for time, _ in runs) for name, runs in found.items()}
            for contender in (nothing, *contenders):
                name = contender.__name__
                ratio = "" if contender is nothing else f"{seconds['scikit_learn'] / seconds[name]:.2f}"
                memory = max(memory for _, memory in found[name])
                tqdm.write(
                    f"| {rows:,} | {dims:,} | {name.replace('_', '-')} "
                    f"| {'' if contender is nothing else f'{seconds[name]:.2f}'} | {ratio} | {memory:,.0f} |"
                )


if __name__ == "__main__":
    main()
