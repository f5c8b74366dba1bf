"""Who works on a trial: claims, and whether the process that made one is alive.

Light on purpose (no torch): `make status` reads them.
"""

import os
import secrets
from dataclasses import dataclass

import psutil

from visrec.jobs.attempts import node, runs


@dataclass(frozen=True)
class Claim:
    """Who trains a trial.

    Attributes:
        host: name of the machine, as Slurm calls it inside a job.
        pid: of the process there.
        started: when that process started, seconds since the machine did: a number is used again, a number and its time
            are not, and the machine's clock may be set meanwhile.
        job: Slurm's job id, which a requeued job shares with the one that was lost, or None.
        token: random.
    """

    host: str
    pid: int
    started: float
    job: str | None
    token: str

    @classmethod
    def of_this_process(cls) -> "Claim":
        """A new claim."""
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID")
        return cls(node(), pid, _started(psutil.Process(pid)), job, secrets.token_hex(16))

    def lives_here(self) -> bool:
        """Whether the process that made it runs on this very machine."""
        return self.host == node() and runs(self.pid, lambda process: abs(_started(process) - self.started) < 0.1)


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
