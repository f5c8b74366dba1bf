"""A real Slurm on this one machine, for tests: a controller, one node without and two nodes with (made up) GPUs.

The GPUs are character devices that every Linux has: Slurm counts them, hands them out and sets CUDA_VISIBLE_DEVICES as
it does with real ones. Nodes may claim more cores and memory than there are. There is no accounting.
"""

import contextlib
import getpass
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
PACKAGES = "munge slurmctld slurmd slurm-client"
NODES = ("cpu1", "gpu1", "gpu2")
GPU_NODES = ("gpu1", "gpu2")
# A node's GPUs; any character device will do.
DEVICES = {"gpu1": ("/dev/null", "/dev/zero"), "gpu2": ("/dev/full", "/dev/random")}

MARK = "VISREC_TEST_SLURM"  # in the environment of all its jobs, so that nothing else is ever killed
ON_NODE = "SLURMD_NODENAME"

SLURM_CONF = """
ClusterName=visrec
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
CredType=cred/munge
AccountingStorageType=accounting_storage/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=20
InactiveLimit=0
MinJobAge=300
KillWait=15
OverTimeLimit=0
MpiDefault=none
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=gpu1,gpu2 MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=64 RealMemory=512000 {gres}State=UNKNOWN"
)
GPU_NODE = "NodeName={name} Name=gpu Type=fake File={device}"


def missing() -> str:
    """Why a Slurm cannot be started here, as a sentence; "" if it can."""
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    if gone:
        return f"{', '.join(gone)} not found: apt-get install {PACKAGES}"
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root here"
    return ""


class LocalSlurm:
    """The daemons, from `start` to `stop`; `environment` is what makes commands talk to them.

    Args:
        folder: absolute; everything of it is in here.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._daemons: dict[str, int] = {}
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"SLURM_CONF": str(folder / "conf/slurm.conf"), "PATH": path, MARK: str(folder)}

    def start(self) -> None:
        """Start munge, the controller and the nodes, and wait until jobs can be submitted."""
        for name in ("bin", "conf", "log", "munge", "run", "state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._configure()
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        run = self.folder / "run"
        subprocess.run(
            [
                "munged",
                "--force",
                f"--key-file={key}",
                f"--socket={run / 'munge.sock'}",
                f"--pid-file={run / 'munged.pid'}",
                f"--log-file={self.folder / 'log/munged.log'}",
                f"--seed-file={self.folder / 'munge/seed'}",
            ],
            check=True,
        )
        self._note("munged")
        subprocess.run(["slurmctld", "-i", "-f", self.environment["SLURM_CONF"]], check=True, env=self.environment)
        self._note("slurmctld")
        for node in NODES:
            self.start_node(node)

    def _configure(self) -> None:
        host, conf = platform.node().split(".")[0], self.folder / "conf"
        nodes, gpus = [], []
        ports = _free_ports(1 + len(NODES))
        for name, port in zip(NODES, ports[1:], strict=True):
            devices = DEVICES.get(name, ())
            gres = f"Gres=gpu:fake:{len(devices)} " if devices else ""
            nodes.append(NODE.format(name=name, host=host, port=port, gres=gres))
            gpus += [GPU_NODE.format(name=name, device=device) for device in devices]
        text = SLURM_CONF.format(
            host=host, user=getpass.getuser(), port=ports[0], folder=self.folder, nodes="\n".join(nodes)
        )
        (conf / "slurm.conf").write_text(text)
        (conf / "gres.conf").write_text("\n".join(gpus) + "\n")
        (conf / "cgroup.conf").write_text("# no cgroups here\n")
        # Snakemake's plugin hides SLURM_CONF from the srun inside a job.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf / "slurm.conf"} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)

    def start_node(self, node: str) -> None:
        """Start a node's daemon and wait until jobs can run there."""
        subprocess.run(["slurmd", "-N", node, "-f", self.environment["SLURM_CONF"]], check=True, env=self.environment)
        self._note(f"slurmd.{node}")
        wait_for(lambda: self.state(node).rstrip("*") in ("IDLE", "MIXED", "ALLOCATED"), f"{node} to be up", 60)

    def revive(self) -> None:
        """Start the daemons of lost nodes again."""
        for node in NODES:
            if f"slurmd.{node}" not in self._daemons:
                self.start_node(node)

    def processes(self, node: str) -> list[psutil.Process]:
        """What runs in this Slurm's jobs on a node, Slurm's own daemons of the jobs' steps first."""
        daemons, others = [], []
        log = str(self.folder / f"log/slurmd.{node}.log")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and log in [file.path for file in process.open_files()]:
                    daemons.append(process)
                elif (about := process.environ()).get(MARK) == str(self.folder) and about.get(ON_NODE) == node:
                    others.append(process)
        return daemons + others

    def kill_node(self, node: str, processes: bool) -> None:
        """Lose a node: its daemon is killed and, with `processes`, all that runs there as well."""
        daemon = psutil.Process(self._daemons.pop(f"slurmd.{node}"))
        (self.folder / "run" / f"slurmd.{node}.pid").unlink()
        # Daemons first: they would report the others' death.
        for process in [daemon, *(self.processes(node) if processes else ())]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _note(self, daemon: str) -> None:
        """Remember what was started, so that exactly this is stopped."""
        file = self.folder / "run" / f"{daemon}.pid"
        wait_for(lambda: file.exists() and file.read_text().strip(), f"{daemon} to start", 20)
        self._daemons[daemon] = int(file.read_text())

    def run(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def state(self, node: str) -> str:
        """A node's state, such as IDLE, MIXED or DOWN*."""
        for part in self.run("scontrol", "show", "node", node).split():
            if part.startswith("State="):
                return part.removeprefix("State=").split("+")[0]
        return ""

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """Jobs in some states (all: every one that Slurm still knows), as scontrol describes them."""
        found = []
        for line in self.run("scontrol", "--details", "--oneliner", "show", "job").splitlines():
            job = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if job.get("JobId") and (not states or job["JobState"] in states):
                found.append(job)
        return found

    def stop(self) -> None:
        """End all jobs, and then exactly the daemons that were started."""
        try:
            if "slurmctld" in self._daemons:
                self.run("scancel", "--user", getpass.getuser())
                wait_for(lambda: not self.jobs("RUNNING", "COMPLETING"), "jobs to end", 60)
        finally:
            for daemon in sorted(self._daemons, key=lambda name: ("slurmd" not in name, name == "munged")):
                _end(self._daemons[daemon], daemon.split(".")[0])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(pid: int, name: str) -> None:
    """End a process if it is still the one that was started: numbers are used again."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.name().startswith(name):
            process.terminate()
            try:
                wait_for(lambda: gone(process), f"{name} to end", 10)
            except TimeoutError:
                process.kill()


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended, also one whose parent does not ask for it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not within that time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.2)
