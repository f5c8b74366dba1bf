"""Permanent logs: one per attempt of a job, beside the job's log, which Snakemake deletes at each restart.

`logs/train/.../seed~0.log` is the log of the newest attempt; `seed~0.1.log`, `seed~0.2.log` ... are those of all
attempts. The first line says where the attempt ran, the last one how it ended, unless the job was killed.

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
EMPTY_AFTER = 60.0  # seconds after which the log of an attempt has a first line, if there is room for one
TRACEBACK = "Traceback (most recent call last):"
FIRST = re.compile(
    r"attempt (?P<number>\d+) on (?P<node>\S+), process (?P<pid>\d{1,9})"
    r"(, Slurm job (?P<job>\d+))?(, GPU (?P<gpus>\S+))?$"
)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job, as read from its log.

    Attributes:
        number: from 1.
        node: name of the machine.
        pid: of its process there.
        job: Slurm's job id, or None.
        gpus: CUDA_VISIBLE_DEVICES, or None.
        since: when it began, seconds since the epoch.
        until: when its log was last written, seconds since the epoch.
        ended: "done", "stopped" (by a signal, its state saved), "failed", or "" if it is running or was killed.
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
        """Whether its process is running on this machine."""
        begun = self.since + 1  # times in the log are whole seconds
        return self.node == node() and runs(self.pid, lambda process: process.create_time() <= begun)


def runs(pid: int, fits: Callable[[psutil.Process], bool]) -> bool:
    """Whether a process is running on this machine and `fits`, as process ids are reused."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and fits(process)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it exists, and is another user's
        return True


def node() -> str:
    """The name of this machine; inside a Slurm job, Slurm's name for it."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def begin(log_file: Path) -> Path:
    """Begin both logs of a new attempt with a line that says where it runs; returns the path of the permanent one.

    Args:
        log_file: the job's log, "*.log"; it is overwritten.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((_number(path) for path in _of(log_file)), default=0)
    while True:  # the number may be taken meanwhile: the job of a lost node may be running still
        kept = log_file.with_name(f"{log_file.stem}.{number}.log")
        try:
            kept.touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    where = f"attempt {number} on {node()}, process {os.getpid()}"
    for name, variable in (("Slurm job", "SLURM_JOB_ID"), ("GPU", "CUDA_VISIBLE_DEVICES")):
        where += f", {name} {os.environ[variable]}" if os.environ.get(variable) else ""
    for file in (log_file, kept):
        file.write_text(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {where}\n", encoding="utf-8")
    return kept


def say(line: str, *files: Path) -> None:
    """Append a line to some logs. A full disk is ignored, as the line is on the screen as well."""
    for file in files:
        with suppress(OSError), file.open("a", encoding="utf-8") as stream:
            print(line, file=stream)


def read(log_file: Path) -> list[Attempt]:
    """All attempts of a job, oldest first; none if it was never begun.

    Args:
        log_file: the job's log, which need not exist.
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
    if not lines:
        return _without_room(path)
    first = FIRST.search(lines[0])
    if first is None:  # its first line is not written yet
        return None
    try:
        since = time.mktime(time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):  # damaged
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
        since=since,
        until=path.stat().st_mtime,
        ended=ended,
        last=last.removeprefix(ERROR).removeprefix(STOPPED),
    )


def _without_room(path: Path) -> Attempt | None:
    """An attempt that could make its log, and not write into it; None if it may just be going to."""
    made = path.stat().st_mtime
    if time.time() - made < EMPTY_AFTER:
        return None
    last = "its log is empty, as on a full disk; make room, then run the same command again"
    return Attempt(
        number=_number(path), node="", pid=0, job=None, gpus=None, since=made, until=made, ended="failed", last=last
    )
