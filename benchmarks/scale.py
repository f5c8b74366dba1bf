"""How Snakemake plans, schedules and remembers thousands of jobs of this workflow, and how much disk they would take.

Nothing is computed: the archives of the four data sets are not needed, and jobs are run by a stand-in that makes empty
files (snakemake_executor_plugin_stub). A copy of the workflow in a temporary folder is planned (`snakemake -n`), run
with the stand-in, planned again when everything is there, and then asked for one job, as every job on a cluster begins.
Disk is arithmetic: numbers of pictures and of values, times bytes that were measured on small runs.

    .venv/bin/python benchmarks/scale.py --seeds 1 3 10
"""

import argparse
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from table import Figure

from visrec.experiment import trials
from visrec.experiment.config import check

ROOT = Path(__file__).parents[1]
AT_ONCE = 100  # jobs in flight, as in profiles/slurm

# Pictures of all splits, as the data sets are by default (tiny_imagenet with 10,000 cut from train for val).
PICTURES = {"svhn": 96_000, "cifar10": 60_000, "celeba": 10_000, "tiny_imagenet": 110_000}
# Of those, pictures of val and test, which each evaluator keeps scores of.
QUERIES = {"svhn": 26_000, "cifar10": 20_000, "celeba": 1_000, "tiny_imagenet": 20_000}
STACK = {32: 4_416, 64: 8_704}  # values of the AGE stack
COMPONENTS = 128
# Measured on 60,000 CIFAR-10 pictures: labels, ids and HDF5's own, in images.h5 as in embeddings.h5 ...
ROW = 65
# ... and the .h5 files of knn, svm, logistic and few_labels together.
QUERY = 458
# The tensors of `dcgan`, encoder and generator. A checkpoint holds them and Adam's two moments, three times as much; a
# training has two of them while it runs.
NETWORKS = {32: 9_475_636, 64: 30_463_556}


def config(seeds: int) -> dict[str, Any]:
    """Four data sets, two sizes, six pairs of lambda and mu, four encoders, four evaluators."""
    datasets: dict[str, dict] = {name: {"sizes": [32, 64]} for name in PICTURES}
    datasets["tiny_imagenet"]["val"] = 10_000
    return {
        "experiment": "scale",
        "seeds": list(range(seeds)),
        "datasets": datasets,
        "encoders": {
            "pixels": {},
            "random": {},
            "pca": {"components": COMPONENTS},
            "age": {"grid": {"lambda_z": [500, 1000, 2000], "mu_x": [10, 50]}},
        },
        "evaluators": {name: {} for name in ("knn", "svm", "logistic", "few_labels")},
        "embeddings": {"keep": False},  # so that the stand-in can count how many there are at once
    }


@dataclass(frozen=True)
class Run:
    """What a command took: seconds on the clock, seconds of CPU, peak memory in MB, and what it printed."""

    seconds: float
    cpu: float
    peak: float
    said: str


def run(folder: Path, *arguments: str) -> Run:
    """Run Snakemake in a checkout, with the stand-in and that checkout's library on its path."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "scale.yaml", *arguments]
    path = os.pathsep.join([str(folder / "workflow/scripts"), str(ROOT / "benchmarks")])
    began = time.perf_counter()
    with (folder / "said.txt").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone, unlike resource.getrusage
        seconds = time.perf_counter() - began
        said.seek(0)
        text = said.read()
    if status:
        sys.exit(f"error: {' '.join(command)} failed\n{text[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def median(repeats: int, folder: Path, *arguments: str) -> Run:
    """As if one run: seconds, CPU and peak are each the median over several, what it said is the last one's."""
    runs = [run(folder, *arguments) for _ in range(repeats)]
    numbers = (statistics.median(getattr(one, name) for one in runs) for name in ("seconds", "cpu", "peak"))
    return Run(*numbers, runs[-1].said)


def checkout(folder: Path, seeds: int) -> None:
    """A copy of the workflow that nobody else uses, with the config."""
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/ladder.csv", folder / "docs")
    (folder / "scale.yaml").write_text(yaml.safe_dump(config(seeds)), encoding="utf-8")


def measure(seeds: int, repeats: int) -> dict[str, Any]:
    """Plan, run with the stand-in and plan again the grid of some seeds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkout(folder, seeds)
        grid = trials.grid(check(config(seeds)))
        run(folder, "--version")  # compiles Python's files
        found: dict[str, Any] = {"seeds": seeds, "trials": len(grid)}
        found["start"] = median(repeats, folder, "--version")
        found["parse"] = median(repeats, folder, "--list-rules")
        found["plan"] = median(repeats, folder, "--dry-run")
        found["jobs"] = int(re.search(r"^total\s+(\d+)", found["plan"].said, re.MULTILINE)[1])
        found["run"] = run(folder, "--executor", "stub", "--cores", str(AT_ONCE))
        found["embeddings"] = int((folder / "peak.txt").read_text(encoding="utf-8"))
        found["again"] = median(repeats, folder, "--dry-run")
        if "Nothing to be done" not in found["again"].said:
            sys.exit(f"error: with everything there, Snakemake plans jobs:\n{found['again'].said[-2000:]}")
        one = f"results/scale/{grid[-1].folder}/atlas.csv"
        found["job"] = median(repeats, folder, "--dry-run", "--force", "--allowed-rules", "atlas", "--", one)
        found["files"] = sum(path.is_file() for path in (folder / "results").rglob("*"))
        records = [path for path in (folder / ".snakemake").rglob("*") if path.is_file()]
        found["records"], found["record_mb"] = len(records), sum(path.stat().st_size for path in records) / 1e6
        return found


def disk(seeds: int) -> Counter:
    """Bytes by kind of file of the finished grid, and of what is there only for a while."""
    found: Counter = Counter()
    for each in trials.grid(check(config(seeds))):
        pictures, values = PICTURES[each.dataset], width(each.encoder, each.size)
        found["embeddings float32"] += pictures * (4 * values + ROW)
        found["embeddings float16"] += pictures * (2 * values + ROW)
        found["scores"] += QUERIES[each.dataset] * QUERY
        if each.encoder == "age":
            found["networks"] += NETWORKS[each.size]
        if each.encoder == "pca":
            found["networks"] += 4 * (COMPONENTS + 1) * 3 * each.size**2
    for pictures in PICTURES.values():
        found["images"] += sum(pictures * (3 * size**2 + ROW) for size in STACK)
    return found


def width(encoder: str, size: int) -> int:
    """D, the values of an embedding."""
    return {"pixels": 3 * size**2, "pca": COMPONENTS}.get(encoder, STACK[size])


def show_times(found: list[dict[str, Any]]) -> None:
    """Print seconds on the clock, and of CPU in brackets, and what each further job adds."""
    print(
        f"\n{'seconds (of CPU)':34}" + "".join(f"{one['seeds']:>10} seeds" for one in found) + f"{'ms CPU per job':>18}"
    )
    for name in ("trials", "jobs"):
        show_row(name, [f"{one[name]:,}" for one in found])
    for name, label in (
        ("start", "snakemake --version"),
        ("parse", "Snakefile read: --list-rules"),
        ("job", "one job begins, all is there"),
        ("plan", "-n, nothing is there"),
        ("again", "-n, all is there"),
        ("run", f"all jobs as empty files, {AT_ONCE} at once"),
    ):
        show_row(label, [f"{one[name].seconds:.1f} ({one[name].cpu:.1f})" for one in found], slopes(found, name))
    for name, label in (("plan", "peak MB of -n, nothing there"), ("run", "peak MB of the run")):
        show_row(label, [f"{one[name].peak:,.0f}" for one in found])
    for name, label in (
        ("files", "files in results/"),
        ("records", "files in .snakemake/"),
        ("record_mb", "their MB"),
        ("embeddings", "embeddings.h5 at once, keep: false"),
    ):
        show_row(label, [f"{one[name]:,.0f}" for one in found])


def show_row(label: str, cells: list[str], last: str = "") -> None:
    """Print a line of the table: a cell for each number of seeds, and one at the end."""
    print((f"{label:34}" + "".join(f"{cell:>16}" for cell in cells) + f"{last:>18}").rstrip())


def slopes(found: list[dict[str, Any]], name: str) -> str:
    """Milliseconds of CPU per further job, from each number of seeds to the next: they rise if it is not linear."""
    pairs = itertools.pairwise(found)
    return ", ".join(f"{1000 * (b[name].cpu - a[name].cpu) / (b['jobs'] - a['jobs']):.1f}" for a, b in pairs)


def show_disk(seeds: list[int]) -> None:
    """Print the arithmetic of disk, in GB."""
    found = [disk(each) for each in seeds]
    print(
        f"\n{'GB':34}"
        + "".join(f"{each:>10} seeds" for each in seeds)
        + "  bytes, summed over trials, data sets and sizes"
    )
    for name, formula in (
        ("images", f"pictures x (3 S^2 + {ROW}), once"),
        ("embeddings float32", f"pictures x (4 D + {ROW})"),
        ("embeddings float16", f"pictures x (2 D + {ROW})"),
        ("networks", f"age: {NETWORKS[32]:,} or {NETWORKS[64]:,}; pca: 4 x {COMPONENTS + 1} x 3 S^2"),
        ("scores", f"pictures of val and test x {QUERY}"),
    ):
        print(f"{name:34}" + "".join(f"{one[name] / 1e9:>16,.1f}" for one in found) + f"  {formula}")
    pictures = max(PICTURES.values())
    largest = max(width(encoder, 64) for encoder in ("pixels", "age", "pca"))
    print(f"largest embeddings.h5, GB: {pictures * (4 * largest + ROW) / 1e9:.1f} float32 ({largest:,} values)")
    pair = (6 * NETWORKS[size] / 1e6 for size in STACK)
    print("two checkpoints of a running training, MB: {:.0f} at 32 px, {:.0f} at 64 px".format(*pair))


def figures(threads: int, repeats: int = 3) -> list[Figure]:
    """For `all.py`: planning the grid of one seed; nothing is run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkout(folder, 1)
        run(folder, "--version")  # compiles Python's files
        start, plan = median(repeats, folder, "--version"), median(repeats, folder, "--dry-run")
    jobs = int(re.search(r"^total\s+(\d+)", plan.said, re.MULTILINE)[1])
    return [
        Figure(f"plan {jobs:,} jobs", plan.seconds, "s"),
        Figure(f"plan {jobs:,} jobs, CPU per 1,000 beyond the start", 1000 * (plan.cpu - start.cpu) / jobs, "s", "3"),
        Figure(f"plan {jobs:,} jobs, peak memory", plan.peak, "MB"),
    ]


def main() -> None:
    """Measure every number of seeds and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 10], help="numbers of seeds (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of all but the run itself (%(default)s)")
    arguments = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores; load average before: {os.getloadavg()[0]:.1f}", flush=True)
    found = []
    for seeds in arguments.seeds:
        found.append(measure(seeds, arguments.repeats))
        print(f"{seeds} seeds: {found[-1]['jobs']:,} jobs; load average now {os.getloadavg()[0]:.1f}", flush=True)
    show_times(found)
    show_disk(arguments.seeds)


if __name__ == "__main__":
    main()
