"""How far an experiment is, one line per trial, read from its files and, where there is a Slurm, from its queue.

It submits nothing and touches no lock.

    python -m visrec.status --configfile config/paper.yaml

Light on purpose (no torch, no pandas): one wants to look often.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from visrec import config as configs
from visrec import progress, registry, trials
from visrec.attempts import Attempt, node, read
from visrec.errors import UserError

COLUMNS = ("trial", "state", "progress", "left")
SQUEUE = ("squeue", "--me", "--noheader", "--format=%A|%T|%k")


@dataclass(frozen=True)
class Queued:
    """A job in Slurm's queue, as the Slurm plugin submitted it.

    Attributes:
        job: its number.
        state: such as RUNNING or PENDING.
        rule: the rule.
        wildcards: their values, joined by "_"; "" for a group of jobs, which is therefore not told from another.
    """

    job: str
    state: str
    rule: str
    wildcards: str


def queue() -> list[Queued] | None:
    """One's own jobs in Slurm's queue; None where there is no Slurm that answers."""
    try:
        lines = subprocess.run(SQUEUE, check=True, capture_output=True, text=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    found = []
    for line in lines:
        job, state, comment = line.split("|", 2)
        rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
        found.append(Queued(job, state, rule, wildcards))
    return found


def table(config: Mapping[str, Any], results: Path, jobs: Sequence[Queued] | None = None) -> list[dict[str, str]]:
    """Trial, state, progress and time left, for every trial of the config, in its order.

    Args:
        config: checked.
        results: the experiment's folder.
        jobs: from `queue`, None if there is no Slurm.
    """
    return [{"trial": trial.folder, **_trial(config, results, trial, jobs)} for trial in trials.grid(config)]


def _trial(
    config: Mapping[str, Any], results: Path, trial: trials.Trial, jobs: Sequence[Queued] | None
) -> dict[str, str]:
    folder = results / trial.folder
    ended = _json(folder / "status.json").get("status", "ok")
    outcome = "" if ended == "ok" else f", {ended}"
    wanted = _wanted(config, trial)
    there = [name for name in wanted if (folder / name).exists()]
    if there and len(there) == len(wanted):  # embeddings may be deleted once everything is scored
        return _row(f"done{outcome}")
    latest = _latest(results, trial)
    if claim := _json(folder / "checkpoints/claim.json"):
        alive = _alive(claim.get("host", ""), claim.get("pid", -1), claim.get("job"), jobs)
        if alive:
            since = _clock((folder / "checkpoints/claim.json").stat().st_mtime)
            return _row(
                f"training on {claim.get('host')} since {since}", *_progress(folder, trial.options, running=True)
            )
    for rule, attempt in latest:
        if not attempt.ended and _alive(attempt.node, attempt.pid, attempt.job, jobs):
            return _row(f"{rule} on {attempt.node} since {_clock(attempt.since)}")
    waiting = [job.rule for job in jobs or () if job.state == "PENDING" and _is_of(job, trial)]
    if waiting:
        return _row(f"queued for {waiting[0]}", *_progress(folder, trial.options, running=False))
    if claim:
        return _row(f"stopped on {claim.get('host')}", *_progress(folder, trial.options, running=False))
    for rule, attempt in latest:
        if attempt.ended == "failed":
            return _row(f"failed in {rule} at attempt {attempt.number}: {attempt.last}")
        if not attempt.ended:  # out of memory or time, say
            return _row(
                f"failed in {rule} at attempt {attempt.number}: killed on {attempt.node}, Slurm's log may say why"
            )
    if (folder / "layers.csv").exists():  # made with embeddings.h5, and stays where that is temporary
        return _row(f"embedded{outcome}", f"{len(there)} of {len(wanted)} results")
    stage = registry.declared("encoders", trial.encoder).get("STAGE")
    if stage and (folder / "status.json").exists():
        return _row(f"{'trained' if stage == 'train' else 'fitted'}{outcome}")
    return _row("waiting", *_progress(folder, trial.options, running=False))


def _wanted(config: Mapping[str, Any], trial: trials.Trial) -> list[str]:
    """The files in a trial's folder that its story ends with."""
    about = registry.declared("encoders", trial.encoder)
    return [
        *(f"{name}.csv" for name in config["evaluators"]),
        "neighbours.csv",
        "projection.csv",
        *(["atlas.csv"] if about.get("ATLAS") and config["evaluators"] else []),
        *(["selectors.csv"] if about.get("STAGE") == "train" else []),
    ]


def _alive(host: str, pid: int, job: str | None, jobs: Sequence[Queued] | None) -> bool:
    """Whether a process runs, as far as can be seen from here; what runs elsewhere without Slurm is believed to."""
    if job and jobs is not None:
        return any(each.job == job and each.state in ("RUNNING", "COMPLETING", "SUSPENDED") for each in jobs)
    return host != node() or psutil.pid_exists(int(pid))


def _is_of(job: Queued, trial: trials.Trial) -> bool:
    named = f"{trial.dataset}_{trial.size}_{trial.encoder}_{trial.name}"
    return job.wildcards == named or job.wildcards.startswith(f"{named}_")  # an evaluator's name comes last


def _latest(results: Path, trial: trials.Trial) -> list[tuple[str, Attempt]]:
    """(rule, its newest attempt) of all that was begun for a trial, the newest first."""
    found = []
    for rule in sorted(path for path in results.glob("logs/*") if path.is_dir()):
        # evaluate has a log for each evaluator; Snakemake deletes the one that it knows before it restarts a job
        parts = {path.name.split(".")[0] for path in (rule / trial.folder).glob("*.log")}
        for name in (trial.folder, *(f"{trial.folder}/{part}" for part in sorted(parts))):
            begun = read(rule / f"{name}.log")
            found += [(rule.name, begun[-1])] if begun else []
    return sorted(found, key=lambda each: each[1].until, reverse=True)


def _row(state: str, progress: str = "", left: str = "") -> dict[str, str]:
    return {"state": state, "progress": progress, "left": left}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not there, or being replaced on a file system that shows it
        return {}
    return found if isinstance(found, dict) else {}


def _progress(folder: Path, options: Mapping[str, Any], running: bool) -> tuple[str, str]:
    """("5,469 of 6,250", "5 min") from the last row of history.csv."""
    try:
        with (folder / "history.csv").open(encoding="utf-8") as file:
            last = [*csv.DictReader(file)][-1]
        done, speed = int(last["iteration"]), float(last["images_per_second"])
        whole, batch = int(options["iterations"]), int(options["batch"])
    except (FileNotFoundError, IndexError, KeyError, ValueError):  # nothing was read yet, or another kind of training
        return "", ""
    left = progress.duration((whole - done) * batch / speed) if running and speed > 0 else ""
    return f"{done:,} of {whole:,}", left


def _clock(seconds: float) -> str:
    when = time.localtime(seconds)
    today = time.localtime()[:3] == when[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", when)


def show(rows: Sequence[Mapping[str, str]]) -> str:
    """The table as text, and a line that counts."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}
    lines = ["  ".join(name.ljust(widths[name]) for name in COLUMNS).rstrip()]
    lines += ["  ".join(row[name].ljust(widths[name]) for name in COLUMNS).rstrip() for row in rows]
    done = sum(row["state"].startswith("done") for row in rows)
    failed = sum(row["state"].startswith("failed") for row in rows)
    return "\n".join([*lines, "", f"{done} of {len(rows)} trials done" + (f", {failed} failed" if failed else "")])


def main() -> None:
    """Print the table of an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", default="config/config.yaml", help="(%(default)s)")
    parser.add_argument("--results", default="results", help="folder of all experiments (%(default)s)")
    given = parser.parse_args()
    try:
        config = configs.check(yaml.safe_load(Path(given.configfile).read_text(encoding="utf-8")))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    print(show(table(config, Path(given.results) / config["experiment"], queue())))


if __name__ == "__main__":
    main()
