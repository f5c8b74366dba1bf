"""Slurm's queue, as far as it is one's own business: what `squeue` prints, read once.

Light on purpose (no torch, no pandas): `make status` and every start of Snakemake read it.
"""

import subprocess
from dataclasses import dataclass

FIELDS = "%A|%T|%j|%r|%k|%Z"  # the folder last: it may hold anything
SQUEUE = ("squeue", "--me", "--noheader", f"--format={FIELDS}")
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
USUAL = ("None", "Priority", "Resources", "BeginTime", "")  # reasons to wait that need no word
PATIENCE = 20  # seconds for an answer


@dataclass(frozen=True)
class Queued:
    """A job in Slurm's queue, as the Slurm plugin submitted it.

    Attributes:
        job: its number.
        state: such as RUNNING or PENDING.
        run: run id of the Snakemake that submitted it.
        reason: why it waits, such as "Resources".
        rule: the rule.
        wildcards: their values, joined by "_"; "" for a group of jobs, which is therefore not told from another.
        folder: where that Snakemake was started.
    """

    job: str
    state: str
    run: str
    reason: str
    rule: str
    wildcards: str
    folder: str

    def held(self) -> bool:
        """Whether it waits until somebody releases it."""
        return self.state in WAITING and (
            self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or "held" in self.reason.lower()
        )

    def why(self) -> str:
        """Why it waits, and what to do about it; "" if it only waits for its turn."""
        if not self.held():
            return "" if self.reason in USUAL else self.reason
        by_admin = "admin" in self.reason.lower()
        remedy = "ask those who run the cluster" if by_admin else f"to release it: scontrol release {self.job}"
        return f"{self.reason}; {remedy}" if self.reason not in USUAL else remedy


def queue() -> list[Queued] | None:
    """One's own jobs in Slurm's queue; None where there is no Slurm that answers."""
    lines = _lines(*SQUEUE)
    return None if lines is None else [_parse(line) for line in lines if line.count("|") >= FIELDS.count("|")]


def of_run(run: str) -> list[str]:
    """Numbers of the jobs of a run, anybody's, that are not over; none where there is no Slurm that answers."""
    return _lines("squeue", "--noheader", "--format=%A", f"--name={run}") or []


def is_over(job: str) -> bool:
    """Whether a job, anybody's, is over, as far as Slurm says."""
    lines = _lines("squeue", "--noheader", "--format=%A|%T")
    return lines is not None and not any(f"{job}|{state}" in lines for state in (*WAITING, *RUNNING))


def _lines(*command: str) -> list[str] | None:
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None


def _parse(line: str) -> Queued:
    job, state, run, reason, comment, folder = line.split("|", FIELDS.count("|"))
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return Queued(job, state, run, reason, rule, wildcards, folder)
