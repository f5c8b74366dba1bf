"""A short version of every benchmark, as one table: in under ten minutes, on this machine.

Each benchmark has `figures(threads)`. Large sizes and details: run the files one by one.

    .venv/bin/python benchmarks/all.py
    .venv/bin/python benchmarks/all.py --only data probe
"""

import argparse
import importlib
import os
import time
from pathlib import Path

from table import Figure, alone, machine, table

BENCHMARKS = ["data", "neighbours", "knn", "probe", "training", "scale", "index"]


def figures(name: str, threads: int) -> list[Figure]:
    """Those of one benchmark."""
    return importlib.import_module(name).figures(threads)


def main() -> None:
    """Run the benchmarks one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="a file that gets the table, too")
    chosen = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    load, began = os.getloadavg()[0], time.perf_counter()
    found: dict[str, list[Figure]] = {}
    for name in chosen.only:
        start = time.perf_counter()
        # A child begins with its parent's peak of memory, so no benchmark may be the parent of another's processes.
        found[name] = alone(figures, name, chosen.threads)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    minutes = (time.perf_counter() - began) / 60
    about = f"{machine()}; {chosen.threads} threads; load average before: {load:.1f}; {minutes:.1f} minutes"
    text = f"{about}\n\n{table(found)}\n"
    print(f"\n{text}")
    if chosen.output:
        chosen.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
