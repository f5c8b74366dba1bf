"""A copy of the workflow per session, run with a tiny config, and a way to ask what Snakemake would do next."""

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

TINY = {
    "experiment": "tiny",
    "device": "cpu",
    "seeds": [0],
    "datasets": {"digits": {"sizes": [32]}},
    "encoders": {
        "pixels": {},
        "random": {},
        "pca": {"components": 16},
        "age": {
            "iterations": 4,
            "batch": 16,
            "grid": {"lambda_z": [1000], "mu_x": [10], "learning_rate": [2e-4, 1e30]},
        },
    },
    "evaluators": {
        "knn": {"k": [1, 3], "features": ["raw"]},
        "svm": {"C": [1e-4, 1e-3]},
        "logistic": {"C": [1e-3]},
        "few_labels": {"labels": 200, "draws": 2, "C": [1e-3]},
    },
    "atlas": {"images": 60, "queries": 20},
    "report": {"queries": 4, "neighbours": 3, "searched": 30, "points": 20},
}
DIGITS = {"train": 400, "val": 100, "test": 100}  # of the 1,797
HEALTHY = "lambda_z~1000+mu_x~10+seed~0"
DIVERGED = "lambda_z~1000+mu_x~10+learning_rate~1e30+seed~0"


@functools.cache
def fork_server() -> subprocess.Popen:
    """One for this process, with which it ends."""
    program = [sys.executable, Path(__file__).with_name("fork_server.py")]
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@functools.cache
def python_of_jobs() -> str:
    """A program to start jobs with in the place of Python, and the server that it asks: one for this process, too."""
    folder = Path(tempfile.mkdtemp(prefix="visrec-jobs-"))
    atexit.register(shutil.rmtree, folder)
    program, python = Path(__file__).with_name("job_server.py"), folder / "python"
    server = subprocess.Popen(
        [sys.executable, program, "serve", folder / "socket"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == "listening\n"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{program}' '{folder}/socket' \"$@\"\n")
    python.chmod(0o755)
    return str(python)


@dataclass
class Checkout:
    """A copy of the Snakefile, the workflow and the profiles in a folder of its own."""

    folder: Path
    config: dict

    def arguments(self, *more: str) -> list[str]:
        """Of Snakemake here, as a user would give them."""
        config, text = self.folder / "tiny.yaml", yaml.safe_dump(self.config)
        if not config.exists() or config.read_text() != text:
            config.write_text(text)
        return ["--configfile", "tiny.yaml", "--cores", "2", *more]

    @property
    def environment(self) -> dict[str, str]:
        """The copy's library comes before the installed one, and is compiled once, as for users."""
        own = {"PYTHONPATH": str(self.folder / "workflow/scripts"), "OMP_NUM_THREADS": "2"}
        return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": ""}

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake here as a user would, its jobs and it as one group of processes."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *self.arguments(*arguments)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake to its end, in a process of its own from the start."""
        process = self.start(*arguments)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """The same in a copy of a process that has imported Snakemake; its jobs in copies of one with their imports."""
        given = self.arguments(*arguments)
        python = sys.executable if "--dry-run" in arguments else python_of_jobs()
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name, "out"), Path(name, "err")
            request = {
                "arguments": given,
                "folder": str(self.folder),
                "environment": self.environment,
                "python": python,
            }
            server = fork_server()
            server.stdin.write(json.dumps({**request, "out": str(out), "err": str(err)}) + "\n")
            server.stdin.flush()
            return subprocess.CompletedProcess(given, int(server.stdout.readline()), out.read_text(), err.read_text())

    def make(self, *arguments: str) -> str:
        """Run Snakemake and fail the test with its messages if it fails."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def plan(self, *arguments: str) -> Counter:
        """What a dry run would do: {(rule, what of): count}, where what is an evaluator, a trial or nothing."""
        return planned(self.make("--dry-run", *arguments))

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["experiment"]


def planned(said: str) -> Counter:
    """`Checkout.plan` of what a dry run said."""
    found: Counter = Counter()
    for rule, details in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", said, re.MULTILINE):
        wildcards = dict(re.findall(r"(\w+)=([^\s,]+)", (re.findall(r"wildcards: (.*)", details) or [""])[0]))
        found[rule, wildcards.get("evaluator") or wildcards.get("encoder") or ""] += 1
    found.pop(("all", ""), None)
    return found


def checkout(folder: Path, config: dict) -> Checkout:
    for name in ("Snakefile", "workflow", "profiles"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "site.yaml"))
        else:
            shutil.copy(source, folder / name)
    few_digits(folder / "workflow/scripts/visrec/datasets/digits.py")
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/ladder.csv", folder / "docs")
    return Checkout(folder, yaml.safe_load(yaml.safe_dump(config)))


def few_digits(dataset: Path) -> None:
    """Give a checkout a third of the digits: every job that reads them has a third of the work, or a ninth."""
    text = dataset.read_text()
    few = f"\n    digits.target = digits.target[:{sum(DIGITS.values())}]"
    for old, new in (
        ("digits = load_digits()", f"digits = load_digits(){few}"),
        ("TRAIN, VAL = 1297, 250", f"TRAIN, VAL = {DIGITS['train']}, {DIGITS['val']}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    dataset.write_text(text)
