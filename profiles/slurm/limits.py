"""What a site allows, from site.yaml: profiles/slurm/config.yaml asks, so that no attempt of a job asks for more.

What is wrong in site.yaml ends Snakemake with one line.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/scripts"))

from snakemake_executor_plugin_slurm.partitions import PartitionLimits
from snakemake_interface_common.exceptions import WorkflowError

from visrec.errors import UserError
from visrec.experiment.config_file import read as read_yaml

FILE = "profiles/slurm/site.yaml"
CLUSTER = ("slurm_cluster", "cluster", "clusters")  # a partition's keys that are no limits
LIMITS = {field.name: field.type for field in dataclasses.fields(PartitionLimits)}


def in_front() -> None:
    """Put the programs of bin/, for Slurm's bad moments, in front of Slurm's own."""
    if os.environ.get("VISREC_SNAKEMAKE") == str(os.getpid()):  # the profile is read more than once
        return
    programs = {name: os.environ.get(f"VISREC_{name.upper()}") or shutil.which(name) for name in ("sbatch", "scontrol")}
    if None in programs.values():
        return
    os.environ |= {f"VISREC_{name.upper()}": path for name, path in programs.items()}
    stop = Path(f".snakemake/stop.{os.getpid()}").resolve()
    stop.unlink(missing_ok=True)  # of a process that had this one's number
    os.environ |= {"VISREC_SNAKEMAKE": str(os.getpid()), "VISREC_SBATCH_STOP": str(stop)}
    try:
        command = [programs["scontrol"], "show", "config"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    age = re.search(r"^MinJobAge\s*=\s*(.*\S)", said, re.M)
    os.environ["VISREC_MINJOBAGE"] = age[1] if age else ""
    os.environ["PATH"] = f"{Path(__file__).resolve().parent / 'bin'}{os.pathsep}{os.environ['PATH']}"


class Site:
    """A site's account and partitions.

    Args:
        file: site.yaml, which need not be there.

    Attributes:
        account: to charge, or None for the default one.
        partitions: name -> limits; none where the file names none, and Slurm's default partition takes every job.
    """

    def __init__(self, file: str | Path = FILE):
        self.account: str | None = None
        self.partitions: dict[str, PartitionLimits] = {}
        if not Path(file).exists():
            return
        try:
            found = read_yaml(file) or {}
            self.partitions = {str(name): _limits(name, keys) for name, keys in _section(found).items()}
            self.account = found.get("account")
        except (UserError, WorkflowError) as error:
            message = " ".join(str(error).split())
            sys.exit(f"error: {message if message.startswith(str(file)) else f'{file}: {message}'}")

    def threads(self, asked: int, gpu: bool = False) -> int:
        """Threads of a rule: so many, or as many as there are in the largest of its partitions."""
        most = [min(each.max_threads, each.max_cpus_per_task) for each in self._of(gpu)]
        return int(min(asked, max(most))) if most else asked

    def within(self, minutes: int, mem_mb: int, gpu: bool | None = False) -> dict[str, str]:
        """Resources of a rule that a partition limits, as Snakemake's expressions: more for each attempt, up to that.

        Args:
            minutes: runtime of the first attempt.
            mem_mb: memory of the first attempt.
            gpu: whether its jobs ask for one; None if some do.
        """
        found = {}
        homes = [_home(self._of(each), minutes, mem_mb) for each in ((False, True) if gpu is None else (gpu,))]
        for name, asked, limit in (("runtime", minutes, "max_runtime"), ("mem_mb", mem_mb, "max_mem_mb")):
            most = min(getattr(home, limit) for home in homes)
            if most < float("inf"):
                found[name] = f"min({asked} * attempt, {int(most)})"
        return found

    def _of(self, gpu: bool) -> list[PartitionLimits]:
        """Partitions for jobs with or without a GPU; all, if none is for them."""
        all_of_them = list(self.partitions.values())
        return [each for each in all_of_them if bool(each.max_gpu) == gpu] or all_of_them


def _home(partitions: list[PartitionLimits], minutes: int, mem_mb: int) -> PartitionLimits:
    """The partition that has the most room for a rule: first for its first attempt, then for four times that."""

    def room(each: PartitionLimits) -> tuple[float, float]:
        time, memory = each.max_runtime / minutes, each.max_mem_mb / mem_mb
        return min(1, time) * min(1, memory), min(4, time) + min(4, memory)

    return max(partitions, key=room, default=PartitionLimits())


def _section(found: object) -> dict[str, dict]:
    if not isinstance(found, dict) or set(found) - {"account", "partitions"}:
        raise UserError("has keys `account` and `partitions` only; see profiles/slurm/site.example.yaml")
    if not isinstance(found.get("account", ""), str | int):
        raise UserError("account: is no name; write the account to charge, or leave the line out")
    partitions = found.get("partitions", {"": {}})
    if not isinstance(partitions, dict) or not partitions:
        raise UserError("partitions: lists no partition; list them by name, or leave the line out")
    return partitions if "partitions" in found else {}


def _limits(name: object, keys: object) -> PartitionLimits:
    where = f"partitions.{name}"
    if not isinstance(keys, dict):
        raise UserError(f"{where}: has no limits; write `max_runtime: 1440`, say, or {{}} for none")
    limits = {key: value for key, value in keys.items() if key not in CLUSTER}
    for key, value in limits.items():
        if key not in LIMITS:
            raise UserError(f"{where}: unknown key '{key}'; known: {', '.join(LIMITS)}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if key.startswith("max_") and not number and not (key == "max_runtime" and isinstance(value, str)):
            raise UserError(f"{where}.{key}: '{value}' is no number; write one")
    try:
        return PartitionLimits(**limits)
    except WorkflowError as error:
        raise UserError(f"{where}: {error}") from error
