"""make resume: go on after Snakemake itself was killed, with nothing left behind in Slurm's queue.

    python profiles/slurm/resume.py [what you gave to snakemake --profile profiles/slurm]

A Snakemake that was killed leaves its lock and its jobs, and the next one would submit the same work again beside
them. So the jobs of every run that was started here and is dead are cancelled (trainings save and leave), the lock is
removed, and Snakemake runs on.
"""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROFILE = Path(__file__).parent
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--profile", str(PROFILE)]
PATIENCE = 300  # seconds for cancelled jobs to save and leave


def running(folder: Path) -> list[int]:
    """Process numbers of the Snakemakes that run a workflow in a folder, on this machine; not those inside jobs."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            named = any(Path(word).name == "snakemake" for word in words[:4])  # `snakemake` or `python -m snakemake`
            if named and "--mode" not in words and Path(process.cwd()) == folder:
                found.append(process.pid)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def runs(logs: Path) -> dict[str, str]:
    """Slurm run id -> the host it was started on, from Snakemake's own logs."""
    found = {}
    for log in sorted(logs.glob("*.snakemake.log")):
        text = log.read_text(encoding="utf-8", errors="replace")
        run, host = re.search(r"^SLURM run ID: (\S+)", text, re.M), re.search(r"^\s*Host: (\S+)", text, re.M)
        if run:
            found[run[1]] = host[1] if host else "an unknown host"
    return found


def queued(run_ids: dict[str, str]) -> dict[str, str]:
    """Slurm job id -> run id, of those runs' jobs in this folder that are not over.

    Raises:
        SystemExit: Slurm does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--format=%A %j %Z"]
    try:
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: squeue does not answer ({error}); run this where Slurm's commands are")
    jobs = [line.split(maxsplit=2) for line in lines]
    # A copy of the checkout has the run ids of the original, whose jobs are none of its business.
    return {job: run for job, run, folder in jobs if run in run_ids and Path(folder) == Path.cwd()}


def cancel(run_ids: dict[str, str], locked: bool = False) -> None:
    """Cancel what is left of dead runs and wait until it is gone.

    Args:
        run_ids: from `runs`, the newest last.
        locked: whether there is a lock, so that the newest may be alive though no job of it is in the queue.

    Raises:
        SystemExit: a run was started on another host, where it may be alive; or jobs do not end.
    """
    jobs = queued(run_ids)
    suspects = {*jobs.values(), *([*run_ids][-1:] if locked else [])}
    elsewhere = {run_ids[run] for run in suspects} - {platform.node()}
    if elsewhere:
        sys.exit(
            f"error: Snakemake was started on {', '.join(sorted(elsewhere))} and may still run there; run this there, "
            f"or, if that is gone: scancel --name={','.join(sorted(suspects))}, then snakemake --unlock"
        )
    if not jobs:
        return
    print(f"cancelling {len(jobs)} jobs of a run that was killed: {', '.join(jobs)}", file=sys.stderr)
    subprocess.run(["scancel", *jobs], check=True)
    end = time.monotonic() + PATIENCE
    while left := queued(run_ids):
        if time.monotonic() > end:
            sys.exit(f"error: jobs {', '.join(left)} do not end; see squeue, and run this again when they are gone")
        time.sleep(1)


def main() -> None:
    """Cancel, unlock, run on."""
    if {"-d", "--directory"} & {word.split("=")[0] for word in sys.argv[1:]}:
        sys.exit("error: --directory is not understood here; change to that folder and run this there")
    alive = running(Path.cwd())
    if alive:
        sys.exit(
            f"error: Snakemake runs here (process {', '.join(map(str, alive))}); wait for it, or stop it with Ctrl-C "
            "and run the same command again"
        )
    locks = Path(".snakemake/locks")
    cancel(runs(Path(".snakemake/log")), locked=locks.is_dir() and any(locks.iterdir()))
    unlocked = subprocess.run([*SNAKEMAKE, "--unlock", *sys.argv[1:]]).returncode
    if unlocked:
        sys.exit(unlocked)
    os.execv(sys.executable, [*SNAKEMAKE, *sys.argv[1:]])  # in our place, so that Ctrl-C is Snakemake's alone


if __name__ == "__main__":
    main()
