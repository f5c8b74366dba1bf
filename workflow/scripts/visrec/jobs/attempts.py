"""Logs that stay: one for every attempt of a job, beside the log that Snakemake knows and deletes at each restart.

`logs/train/.../seed~0.log` is the newest attempt's; `seed~0.1.log`, `seed~0.2.log` ... are all of them. The first line
says where it ran, the last one how it ended; a job that was killed has no last line.

Light on purpose (no torch, no pandas): `make status` reads them.
"""

import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DONE = "done after"
ERROR = "error: "
STOPPED = "stopped: "
TRACEBACK = "Traceback (most recent call last):"
FIRST = re.compile(
    r"attempt (?P<number>\d+) on (?P<node>\S+), process (?P<pid>\d+)(, Slurm job (?P<job>\d+))?(, GPU (?P<gpus>\S+))?$"
)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job, as its log tells it.

    Attributes:
        number: from 1.
        node: where it ran.
        pid: its process there.
        job: Slurm's job id, or None.
        gpus: CUDA_VISIBLE_DEVICES, or None.
        since: when it began, seconds since the epoch.
        until: when its log was last written.
        ended: "done", "stopped" by a signal with its state saved, "failed", or "" for one that runs or was killed.
        last: the last line of the log, without "error: " and "stopped: ".
    """

    number: int
    node: str
    pid: int
    job: str | None
    gpus: str | None
    since: float
    until: float
    ended: str
    last: str

    def lives_here(self) -> bool:
        """Whether its process runs on this very machine."""
        begun = self.since + 1  # the log counts in seconds
        return self.node == node() and runs(self.pid, lambda process: process.create_time() <= begun)


def runs(pid: int, fits: Callable[[psutil.Process], bool]) -> bool:
    """Whether a process of this machine runs and is the one that is meant, by `fits`: numbers are used again."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and fits(process)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # someone else's, so it is there
        return True


def node() -> str:
    """The name of this machine, as Slurm calls it inside a job."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def begin(log_file: Path) -> Path:
    """Begin both logs of a new attempt with a line that says where it runs; returns the path of the one that stays.

    Args:
        log_file: the log as Snakemake knows it, "*.log"; what it had is lost.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((_number(path) for path in _of(log_file)), default=0)
    while True:  # a lost node's job may begin again while the orphan still runs
        kept = log_file.with_name(f"{log_file.stem}.{number}.log")
        try:
            kept.touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    where = f"attempt {number} on {node()}, process {os.getpid()}"
    for word, variable in (("Slurm job", "SLURM_JOB_ID"), ("GPU", "CUDA_VISIBLE_DEVICES")):
        where += f", {word} {os.environ[variable]}" if os.environ.get(variable) else ""
    for file in (log_file, kept):
        file.write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {where}\n", encoding="utf-8")
    return kept


def say(line: str, *files: Path) -> None:
    """Append a line to some logs, as far as their disk has room: what there is to say is on the screen, too."""
    for file in files:
        with suppress(OSError), file.open("a", encoding="utf-8") as stream:
            print(line, file=stream)


def read(log_file: Path) -> list[Attempt]:
    """All attempts of a job, the first one first; none if it was never begun.

    Args:
        log_file: the log as Snakemake knows it; it need not exist.
    """
    found = [_parse(path) for path in sorted(_of(log_file), key=_number)]
    return [each for each in found if each is not None]


def _of(log_file: Path) -> list[Path]:
    kept = re.compile(re.escape(log_file.stem) + r"\.\d+\.log")
    return [path for path in log_file.parent.iterdir() if kept.fullmatch(path.name)] if log_file.parent.is_dir() else []


def _number(path: Path) -> int:
    return int(path.stem.rpartition(".")[2])


def _parse(path: Path) -> Attempt | None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    first = FIRST.search(lines[0]) if lines else None
    if first is None:  # it is just being begun
        return None
    last = lines[-1]
    ended = ""
    if last.startswith(DONE):
        ended = "done"
    elif last.startswith(STOPPED):
        ended = "stopped"
    elif last.startswith(ERROR) or TRACEBACK in lines:
        ended = "failed"
    return Attempt(
        number=int(first["number"]),
        node=first["node"],
        pid=int(first["pid"]),
        job=first["job"],
        gpus=first["gpus"],
        since=time.mktime(time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")),
        until=path.stat().st_mtime,
        ended=ended,
        last=last.removeprefix(ERROR).removeprefix(STOPPED),
    )
