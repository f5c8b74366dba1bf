"""Approximate search beside exact search: time to build, time to ask, memory and recall, as galleries grow.

Features resemble those of an encoder: clusters that overlap, with a spectrum that falls inside and between them, mapped
at random to the dimensions asked for. Each contender works in a process of its own, so that each has its own peak
memory. Cells that would not fit into free memory are not run, with a line that says so.

    .venv/bin/python benchmarks/index.py --rows 10000 100000 1000000 --dims 128 4416 --threads 2
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from table import Figure, alone
from tqdm import tqdm

K = 10
QUERIES = 100
ALONE = 20  # queries that are asked one by one
DIRECTIONS = 64
MEMBERS = 100  # of a cluster, on average
COPIES = 2.7  # of the features: themselves, a rounded copy or one of 16 bits, and what is in work


def features(rows: int, dims: int, clusters: int, seed: int) -> np.ndarray:
    """float32 (rows, dims)."""
    common, rng = np.random.default_rng(0), np.random.default_rng(seed)
    axes = common.normal(size=(DIRECTIONS, dims)).astype(np.float32)
    falling = 1 / np.sqrt(1 + np.arange(DIRECTIONS))
    centres = common.normal(size=(clusters, DIRECTIONS)) * falling
    found = np.empty((rows, dims), np.float32)
    for start in range(0, rows, 8192):
        part = found[start : start + 8192]
        inside = rng.normal(size=(len(part), DIRECTIONS)) * falling
        part[:] = (centres[rng.integers(clusters, size=len(part))] + inside).astype(np.float32) @ axes
        part += 0.05 * rng.standard_normal(part.shape, np.float32)
    return found


def measured(contender: str, rows: int, dims: int, threads: int) -> dict:
    """What one contender took, in seconds and MB; `rows` found by it for the common queries."""
    from visrec.recommender import index

    clusters = max(1, rows // MEMBERS)
    gallery, queries = features(rows, dims, clusters, 1), features(QUERIES, dims, clusters, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = rows if contender == "exact" else 1
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        made = index.build(gallery, K, folder, "benchmark", index.SearchOptions(limit=limit, threads=threads))
        built = time.perf_counter() - began
        disk = sum(path.stat().st_size for path in Path(folder).iterdir())
    made.search(queries[:2], K)  # warm up
    began = time.perf_counter()
    found, _ = made.search(queries, K)
    together = time.perf_counter() - began
    alone = []
    for query in queries[:ALONE]:
        began = time.perf_counter()
        made.search(query[None], K)
        alone.append(time.perf_counter() - began)
    return {
        "build": built,
        "batch": together / QUERIES,
        "alone": statistics.median(alone),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "features": before / 1024,
        "disk": disk / 1e6,
        "recall": made.recall,
        "cells": f"{made.probes} of {made.cells.nlist}" if made.cells else "",
        "found": found,
    }


def figures(threads: int, rows: int = 50_000, dims: int = 128) -> list[Figure]:
    """For `all.py`: one run, 100 queries."""
    exact, quick = (alone(measured, contender, rows, dims, threads) for contender in ("exact", "approximate"))
    recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(exact["found"], quick["found"], strict=True)]))
    what = f"{K} neighbours in {rows:,} x {dims:,}, approximate"
    return [
        Figure(f"{what}, {QUERIES} queries at once", 1e3 * quick["batch"], "ms", "", "exact", 1e3 * exact["batch"]),
        Figure(f"{what}, one query alone", 1e3 * quick["alone"], "ms", "", "exact", 1e3 * exact["alone"]),
        Figure(f"{what}, time to build", quick["build"], "s"),
        Figure(f"{what}, recall", recall, "", "0.95"),
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 4416])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    print(f"{QUERIES} queries, {K} neighbours, {chosen.threads} threads, one run\n")
    print(
        "| rows | values | | build, s | ms per query of 100 | ms for one alone | peak memory, MB | recall@10 | cells |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for dims in chosen.dims:
        for rows in chosen.rows:
            needed, free = COPIES * 4 * rows * dims / 1e9, psutil.virtual_memory().available / 1e9
            if needed > free:
                tqdm.write(f"| {rows:,} | {dims:,} | not run: about {needed:.0f} GB are needed, {free:.0f} are free |")
                continue
            truth = None
            for contender in ("exact", "approximate"):
                one = alone(measured, contender, rows, dims, chosen.threads)
                truth = one["found"] if truth is None else truth
                recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, one["found"], strict=True)])
                print(
                    f"| {rows:,} | {dims:,} | {contender} | {one['build']:.1f} | {1000 * one['batch']:.2f} "
                    f"| {1000 * one['alone']:.2f} | {one['memory']:,.0f} ({one['features']:,.0f} before) "
                    f"| {recall:.3f} | {one['cells']} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
