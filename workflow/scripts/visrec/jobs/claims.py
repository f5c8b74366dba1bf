"""Claims: which process trains a trial, and whether it is alive.

Light on purpose (no torch): `make status` reads them.
"""

import os
import secrets
from dataclasses import dataclass

import psutil

from visrec.jobs.attempts import node, runs


@dataclass(frozen=True)
class Claim:
    """Which process trains a trial.

    Attributes:
        host: name of the machine; inside a Slurm job, Slurm's name for it.
        pid: of the process there.
        started: when that process started, seconds since the machine booted: process ids are reused, but not with the
            same time, and the machine's clock may be changed meanwhile.
        job: Slurm's job id, or None; a requeued job has the same id as the lost one.
        token: random.
    """

    host: str
    pid: int
    started: float
    job: str | None
    token: str

    def __post_init__(self) -> None:
        """Check what was read from a file.

        Raises:
            TypeError: it is no claim.
        """
        texts = isinstance(self.host, str) and isinstance(self.job, str | None) and isinstance(self.token, str)
        numbers = type(self.pid) is int and 0 < self.pid < 2**31 and isinstance(self.started, int | float)
        if not (texts and numbers):
            raise TypeError("its values are not those of a process")

    @classmethod
    def of_this_process(cls) -> "Claim":
        """A new claim."""
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID")
        return cls(node(), pid, _started(psutil.Process(pid)), job, secrets.token_hex(16))

    def lives_here(self) -> bool:
        """Whether the process that made it is running on this machine."""
        return self.host == node() and runs(self.pid, lambda process: abs(_started(process) - self.started) < 0.1)


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
