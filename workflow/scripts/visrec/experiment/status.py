"""How far an experiment is, one line per trial, read from its files and, where there is a Slurm, from its queue.

It submits nothing and touches no lock.

    python -m visrec.experiment.status --configfile config/paper.yaml

Light on purpose (no torch, no pandas): one wants to look often.
"""

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visrec.errors import UserError
from visrec.experiment import config_file, layout, trials
from visrec.experiment.config import check
from visrec.jobs import lock, progress
from visrec.jobs.attempts import Attempt, node, read
from visrec.jobs.claims import Claim
from visrec.jobs.slurm_queue import RUNNING, WAITING, Queued, queue

COLUMNS = ("trial", "state", "progress", "left")
ROOM = 2**20  # bytes on a disk that is not full


def table(config: Mapping[str, Any], results: Path, jobs: Sequence[Queued] | None = None) -> list[dict[str, str]]:
    """Trial, state, progress and time left, for every trial of the config, in its order.

    Args:
        config: checked.
        results: the experiment's folder.
        jobs: from `queue`, None if there is no Slurm.
    """
    waiting = _waiting(results, jobs or ())
    return [{"trial": trial.folder, **_trial(config, results, trial, jobs, waiting)} for trial in trials.grid(config)]


def _waiting(results: Path, jobs: Sequence[Queued]) -> list[Queued]:
    """Jobs of this experiment that wait: submitted from this folder, by no run that works on other results."""
    jobs = [job for job in jobs if job.state in WAITING and Path(job.folder).resolve() == Path.cwd().resolve()]
    others = {each.parent for each in results.parent.glob(f"*/{lock.NAME}")} - {results} if jobs else ()
    foreign = set().union(*(lock.runs(each) for each in others))
    return [job for job in jobs if job.run not in foreign]


def _trial(
    config: Mapping[str, Any],
    results: Path,
    trial: trials.Trial,
    jobs: Sequence[Queued] | None,
    waiting: Sequence[Queued] = (),
) -> dict[str, str]:
    folder = results / trial.folder
    ended = _json(folder / layout.STATUS).get("status", "ok")
    outcome = "" if ended == "ok" else f", {ended}"
    latest = _latest(results, trial)
    claim, since = _claim(folder / "checkpoints/claim.json")
    if claim and _runs(claim.job, jobs, claim.host, claim.lives_here):
        return _row(f"training on {claim.host} since {_clock(since)}", *_progress(folder, trial.options, running=True))
    for rule, attempt in latest:
        if not attempt.ended and _runs(attempt.job, jobs, attempt.node, attempt.lives_here):
            return _row(f"{rule} on {attempt.node} since {_clock(attempt.since)}")
    ours = sorted((job for job in waiting if _is_of(job, trial)), key=lambda job: not job.held())
    if ours:
        state = f"{'held' if ours[0].held() else 'queued'} for {ours[0].rule}"
        why = f": {ours[0].why()}" if ours[0].why() else ""
        return _row(f"{state}{why}", *_progress(folder, trial.options, running=False))
    # Only now: what is made again has its old files until then. Embeddings may be deleted once everything is scored.
    wanted = layout.final_files(trial, list(config["evaluators"]))
    there = [name for name in wanted if (folder / name).exists()]
    if there and len(there) == len(wanted) and not _newer_trouble(latest, [folder / name for name in wanted]):
        return _row(f"done{outcome}")
    if claim:
        return _row(f"stopped on {claim.host}", *_progress(folder, trial.options, running=False))
    for rule, attempt in latest:
        if attempt.ended == "stopped":
            return _row(f"stopped on {attempt.node}", *_progress(folder, trial.options, running=False))
        if attempt.ended == "failed":
            return _row(f"failed in {rule} at attempt {attempt.number}: {attempt.last}")
        if not attempt.ended:  # out of memory or time, say
            return _row(
                f"failed in {rule} at attempt {attempt.number}: killed on {attempt.node}"
                + (", Slurm's log may say why" if attempt.job else "")
            )
    if (folder / layout.LAYERS).exists():  # made with embeddings.h5, and stays where that is temporary
        return _row(f"embedded{outcome}", f"{len(there)} of {len(wanted)} results")
    if trial.stage and (folder / layout.STATUS).exists():
        return _row(f"{'trained' if trial.stage == 'train' else 'fitted'}{outcome}")
    return _row("waiting", *_progress(folder, trial.options, running=False))


def _newer_trouble(latest: Sequence[tuple[str, Attempt]], files: Sequence[Path]) -> bool:
    """Whether the newest attempt did not come to its end and is newer than all that is there."""
    return bool(latest) and latest[0][1].ended != "done" and latest[0][1].until > max(f.stat().st_mtime for f in files)


def _claim(path: Path) -> tuple[Claim | None, float]:
    """Who claims a trial, and since when; None if nobody does, or the file is just going or being replaced."""
    try:
        return Claim(**_json(path)), path.stat().st_mtime
    except (FileNotFoundError, TypeError):
        return None, 0.0


def _runs(job: str | None, jobs: Sequence[Queued] | None, host: str, lives_here: Callable[[], bool]) -> bool:
    """Whether a process runs, as far as can be seen from here; what runs elsewhere without Slurm is believed to."""
    if job and jobs is not None:
        return any(each.job == job and each.state in RUNNING for each in jobs)
    return host != node() or lives_here()


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
    except (
        FileNotFoundError,
        ValueError,
        RecursionError,
    ):  # not there, or being replaced on a file system that shows it
        return {}
    return found if isinstance(found, dict) else {}


def _progress(folder: Path, options: Mapping[str, Any], running: bool) -> tuple[str, str]:
    """("5,469 of 6,250", "5 min") from the last row of history.csv."""
    try:
        with (folder / layout.HISTORY).open(encoding="utf-8") as file:
            last = [*csv.DictReader(file)][-1]
        done, speed = int(last["iteration"]), float(last["images_per_second"])
        whole, batch = int(options["iterations"]), int(options["batch"])
    except (FileNotFoundError, IndexError, KeyError, TypeError, ValueError, csv.Error):  # nothing yet, or damaged
        return "", ""
    left = progress.duration((whole - done) * batch / speed) if running and 0 < speed < 1e12 else ""
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
        config = check(config_file.read(given.configfile))
        results = Path(given.results) / config["experiment"]
        print(show(table(config, results, queue())))
    except UserError as error:
        sys.exit(f"error: {error}")
    if results.exists() and shutil.disk_usage(results).free < ROOM:
        print(f"the disk of {results} is full: make room, then run the same command again")


if __name__ == "__main__":
    main()
