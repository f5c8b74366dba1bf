"""The workflow on a real Slurm, with each fault that a cluster knows: what comes out is what comes out undisturbed.

A fault is always made in the middle of a training: after its first checkpoint.
"""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from local_slurm import GPU_NODES, LocalSlurm, missing, wait_for
from tiny import TINY, Checkout, checkout

from visrec.jobs import attempts

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

CONFIG = TINY | {
    "experiment": "cluster",
    "device": "auto",
    "seeds": [0, 1],
    "encoders": {"pixels": {}, "age": {"iterations": 4, "batch": 16, "grid": {"lambda_z": [1000], "mu_x": [10]}}},
    "evaluators": {"knn": {"k": [1, 3], "features": ["raw"]}},
    "checkpoints": {"iterations": 10},
}
IMAGES = "digits/32px/images.h5"
SITE = {
    "partitions": {
        "cpu": {"max_runtime": 10080, "max_mem_mb": 512000, "max_threads": 64},
        "gpu": {"max_runtime": 1440, "max_gpu": 2},
    }
}
# Long enough to be hit in the middle. On no grid, so nothing else waits for them.
LONG = [f"digits/32px/age/lambda_z~1000+mu_x~10+iterations~60+seed~{seed}" for seed in (0, 1)]
ONE_THREAD = [f"{rule}=1" for rule in ("prepare", "train", "embed", "evaluate", "neighbours", "atlas", "selection")]
# Short waits, for a test; nothing else differs from what a site runs.
QUICK = ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10", "--set-threads", *ONE_THREAD, "--"]
PATIENCE = 400  # seconds for anything; the machine may be slow


@dataclass
class Cluster:
    """A checkout whose Snakemake submits to a Slurm."""

    slurm: LocalSlurm
    checkout: Checkout
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.checkout.folder

    @property
    def environment(self) -> dict[str, str]:
        return self.slurm.environment | {"PYTHONPATH": str(self.folder / "workflow/scripts")}

    def start(self, *arguments: str, program: tuple[str, ...] = ("-m", "snakemake", "--profile", "profiles/slurm")):
        """Start Snakemake, or what stands in for it, as a user would."""
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(self.checkout.config))
        log = (self.folder / "snakemake.log").open("a")
        process = subprocess.Popen(
            [sys.executable, *program, "--configfile", "tiny.yaml", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background ignores it
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen) -> str:
        """Wait for Snakemake, which has to succeed, and return all it has said in this folder."""
        code = process.wait(PATIENCE)
        said = (self.folder / "snakemake.log").read_text()
        assert code == 0, said[-5000:]
        return said

    def make(self, *arguments: str) -> str:
        return self.finish(self.start(*arguments))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[LocalSlurm]:
    why = missing()
    if why and os.environ.get("VISREC_SLURM") == "required":
        pytest.fail(f"the Slurm tests are required here: {why}")
    if why:
        pytest.skip(why)
    made = LocalSlurm(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def undisturbed(slurm, tmp_path_factory) -> Checkout:
    """The long trainings that faults will hit, on this machine alone."""
    here = checkout(tmp_path_factory.mktemp("undisturbed"), CONFIG)
    targets = [f"results/{CONFIG['experiment']}/{trial}/model.safetensors" for trial in LONG]
    here.make("--set-threads", *ONE_THREAD, "--", *targets)
    return here


@pytest.fixture(scope="session")
def undisturbed_whole(undisturbed) -> Checkout:
    """The whole workflow on this machine alone."""
    undisturbed.make("--set-threads", *ONE_THREAD, "--", "all")
    return undisturbed


def cluster_in(folder: Path, slurm: LocalSlurm) -> Cluster:
    """A checkout in which nothing was done yet, with the site's file filled in."""
    made = checkout(folder, CONFIG)
    (folder / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(SITE))
    return Cluster(slurm, made)


@pytest.fixture
def cluster(slurm, undisturbed, tmp_path) -> Iterator[Cluster]:
    folder = tmp_path / "checkout"
    folder.mkdir()
    made = cluster_in(folder, slurm)
    # The images are there, as far as Snakemake is concerned, too; nothing else is.
    shutil.copytree(undisturbed.folder / ".snakemake/metadata", folder / ".snakemake/metadata")
    (made.checkout.results / IMAGES).parent.mkdir(parents=True)
    shutil.copy2(undisturbed.results / IMAGES, made.checkout.results / IMAGES)
    yield made
    for process in made.started:  # of a test that failed: it would submit again
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    slurm.revive()
    slurm.run("scancel", "--user", str(os.geteuid()))
    wait_for(lambda: not slurm.jobs("RUNNING", "COMPLETING", "PENDING"), "the queue to be empty", 60)


@dataclass
class Training:
    """A long training on the cluster, and Snakemake waiting for it."""

    cluster: Cluster
    trial: str
    snakemake: subprocess.Popen | None = None
    process: psutil.Process | None = None

    @property
    def folder(self) -> Path:
        return self.cluster.checkout.results / self.trial

    @property
    def target(self) -> str:
        return str((self.folder / "model.safetensors").relative_to(self.cluster.folder))

    @property
    def attempts(self) -> list[attempts.Attempt]:
        return attempts.read(self.cluster.checkout.results / f"logs/train/{self.trial}.log")

    @property
    def job(self) -> str:
        """Slurm's number of the newest attempt."""
        return self.attempts[-1].job

    def stop_in_the_middle(self) -> None:
        """Wait for the first checkpoint and hold the process, so that the fault hits a training that is not over.

        Slurm wakes what it ends.
        """
        wait_for(lambda: any((self.folder / "checkpoints").glob("[0-9]*.safetensors")), "a checkpoint", PATIENCE)
        self.process = psutil.Process(self.attempts[0].pid)
        self.process.suspend()

    def check(self, undisturbed: Checkout, starts: int) -> None:
        """It ended as if nothing had happened, and no two attempts ran at once."""
        said = self.cluster.finish(self.snakemake)
        same(self.folder, undisturbed.results / self.trial)
        assert len([*(self.folder / "checkpoints").iterdir()]) == 1  # the last, until the model is read
        assert len(self.attempts) == starts, said[-5000:]
        for before, after in zip(self.attempts, self.attempts[1:], strict=False):
            assert before.until <= after.since + 1  # the log's clock counts whole seconds
        assert self.attempts[-1].ended == "done"
        lines = (self.cluster.checkout.results / f"logs/train/{self.trial}.{starts}.log").read_text()
        assert re.search("going on from iteration [1-9]", lines)


def same(one: Path, other: Path) -> None:
    """Weights and history (but for speeds) are equal, bit by bit."""
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    histories = [pd.read_csv(folder / "history.csv").drop(columns="images_per_second") for folder in (one, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


@pytest.fixture
def training(cluster) -> Training:
    """A training, held in its middle."""
    started = Training(cluster, LONG[0])
    started.snakemake = cluster.start(*QUICK, started.target)
    started.stop_in_the_middle()
    return started


@pytest.fixture(scope="session")
def whole(slurm, undisturbed_whole, tmp_path_factory) -> Cluster:
    """The whole workflow, run once on the cluster."""
    made = cluster_in(tmp_path_factory.mktemp("whole"), slurm)
    made.make(*QUICK, "all")
    return made


def test_the_whole_workflow_gives_what_one_machine_gives(whole, undisturbed_whole):
    for name in ("scores.csv", "leaderboard.csv", "comparisons.csv", "overlap.csv", "selection.csv", "atlas.csv"):
        ours, theirs = (pd.read_csv(each.results / "tables" / name) for each in (whole.checkout, undisturbed_whole))
        timings = [column for column in ours if re.search("seconds|per_second|_mb|minutes", column)]
        pd.testing.assert_frame_equal(ours.drop(columns=timings), theirs.drop(columns=timings), check_exact=True)
    assert (whole.checkout.results / "report/index.html").exists()


def test_every_job_lands_where_it_belongs(whole):
    logs = whole.checkout.results / "logs"
    begun = {log.relative_to(logs).as_posix(): attempts.read(log) for log in logs.rglob("*.log")}
    where = {name: each[0] for name, each in begun.items() if each}  # the logs that stay have none of their own
    assert all(len(each) <= 1 for each in begun.values())
    assert all(each.ended == "done" for each in where.values())
    on_gpus = {name: each for name, each in where.items() if re.match("(train|embed)/.*/age/", name)}
    assert len(on_gpus) == 4
    for name, each in where.items():
        if name in on_gpus:
            assert each.node in GPU_NODES and re.fullmatch("[01]", each.gpus), name
        elif "/" not in name:
            assert each.job is None, name  # tables, figures, report: where Snakemake runs
        else:
            assert each.node == "cpu1" and each.gpus is None, name
    for (name, one), (other_name, other) in itertools.combinations(on_gpus.items(), 2):
        if (one.node, one.gpus) == (other.node, other.gpus):
            assert one.until <= other.since + 1 or other.until <= one.since + 1, f"{name}, {other_name}: one GPU"


TABLES = {("tables", ""): 1, ("figures", ""): 1, ("report", ""): 1}


def of_new_trials(count: int) -> dict[tuple[str, str], int]:
    """What `count` new trials of AGE need."""
    rules = ("train", "embed", "neighbours", "projection", "atlas", "selection")
    return TABLES | {(rule, "age"): count for rule in rules} | {("draw", "age"): 2 * count, ("evaluate", "knn"): count}


def test_only_what_changed_runs_again(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "copy")
    copy = Checkout(tmp_path / "copy", whole.checkout.config)

    def plan(target: str = "all", **changed: object) -> dict[tuple[str, str], int]:
        there = Checkout(copy.folder, yaml.safe_load(yaml.safe_dump(whole.checkout.config | changed)))
        return dict(there.plan("--profile", "profiles/slurm", *QUICK, target))

    assert plan() == {}
    age = whole.checkout.config["encoders"]["age"]
    assert plan(seeds=[0, 1, 2]) == of_new_trials(1)
    one_more = {"pixels": {}, "age": age | {"grid": {"lambda_z": [1000, 500], "mu_x": [10]}}}
    assert plan(encoders=one_more) == of_new_trials(2)
    assert plan(evaluators={"knn": {"k": [1, 3, 5], "features": ["raw"]}}) == TABLES | {("evaluate", "knn"): 3}
    again = {"digits": {"sizes": [32]}, "again": {"kind": "digits", "sizes": [32]}}
    pixels = {("embed", "pixels"): 1, ("neighbours", "pixels"): 1, ("projection", "pixels"): 1}
    new = of_new_trials(2) | pixels | {("evaluate", "knn"): 3, ("prepare", ""): 1}
    assert plan(datasets=again) == new
    target = "results/cluster/digits/32px/age/lambda_z~500+mu_x~10+seed~0/knn.csv"
    assert plan(target) == {("train", "age"): 1, ("embed", "age"): 1, ("evaluate", "knn"): 1}
    (copy.results / "digits/32px/pixels/seed~0/knn.csv").unlink()
    assert plan() == TABLES | {("evaluate", "knn"): 1}


def test_a_cancelled_training_is_resubmitted_and_goes_on(training, undisturbed, slurm):
    slurm.run("scancel", training.job)
    training.check(undisturbed, starts=2)
    assert training.attempts[0].ended == "stopped"  # with the line that says that it is saved
    assert training.attempts[0].job != training.attempts[1].job


def test_a_requeued_training_goes_on(training, undisturbed, slurm):
    job = training.job
    slurm.run("scontrol", "requeue", job)
    wait_for(lambda: slurm.jobs("PENDING"), "the job to be in the queue again", 60)
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm would wait for two minutes
    training.check(undisturbed, starts=2)
    assert [each.job for each in training.attempts] == [job, job]


def test_a_training_whose_time_is_over_goes_on_with_more(training, undisturbed, slurm):
    slurm.run("scontrol", "update", f"JobId={training.job}", "TimeLimit=1")
    training.check(undisturbed, starts=2)
    said = (training.cluster.folder / "snakemake.log").read_text()
    assert "TIMEOUT" in said
    assert re.findall(r"runtime=(\d+)", said)[-1] == "480"  # twice what the rule gives at first


def test_a_lost_node_is_replaced_and_comes_back(training, undisturbed, slurm):
    node, job = training.attempts[0].node, training.job
    slurm.kill_node(node, processes=True)
    wait_for(lambda: slurm.jobs("PENDING"), "the job to be in the queue again", PATIENCE)
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    training.check(undisturbed, starts=2)
    assert training.attempts[1].node != node


def test_an_orphan_on_a_lost_node_does_no_harm(training, undisturbed, slurm):
    node, job = training.attempts[0].node, training.job
    slurm.kill_node(node, processes=False)
    wait_for(lambda: slurm.jobs("PENDING"), "the job to be in the queue again", PATIENCE)
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for(lambda: len(training.attempts) == 2, "its successor", PATIENCE)
    claim = training.folder / "checkpoints/claim.json"
    wait_for(
        lambda: claim.exists() and f'"pid": {training.attempts[1].pid}' in claim.read_text(), "its claim", PATIENCE
    )
    training.process.resume()
    training.cluster.finish(training.snakemake)
    wait_for(lambda: not slurm.processes(node), "the orphan and its Snakemake to leave", PATIENCE)
    same(training.folder, undisturbed.results / training.trial)
    assert "has taken over this trial; leaving without writing" in training.attempts[0].last
    assert training.attempts[1].ended == "done"


def test_after_ctrl_c_the_same_command_goes_on(training, undisturbed):
    training.snakemake.send_signal(signal.SIGINT)
    assert training.snakemake.wait(PATIENCE) != 0
    wait_for(lambda: not training.cluster.slurm.jobs("RUNNING", "COMPLETING"), "its job to end", 60)
    training.snakemake = training.cluster.start(*QUICK, training.target)
    training.check(undisturbed, starts=2)


def test_after_snakemake_was_killed_resume_goes_on(training, undisturbed, slurm):
    resume = ("profiles/slurm/resume.py",)
    refused = training.cluster.start(*QUICK, training.target, program=resume)
    assert refused.wait(PATIENCE) == 1
    assert f"Snakemake runs here (process {training.snakemake.pid})" in _said(training)
    training.snakemake.kill()
    training.snakemake.wait()
    assert slurm.jobs("RUNNING")
    training.snakemake = training.cluster.start(*QUICK, training.target, program=resume)
    training.check(undisturbed, starts=2)
    assert f"cancelling 1 jobs of a run that was killed: {training.attempts[0].job}" in _said(training)


def _said(training: Training) -> str:
    return (training.cluster.folder / "snakemake.log").read_text()


def together(trainings: list[Training]) -> tuple[attempts.Attempt, attempts.Attempt]:
    """The attempts of two trainings that had one Slurm job and one GPU between them."""
    one, other = (each.attempts[0] for each in trainings)
    assert (one.job, one.node, one.gpus) == (other.job, other.node, other.gpus)
    assert one.node in GPU_NODES and re.fullmatch("[01]", one.gpus)
    return one, other


def test_grouped_trainings_share_a_job_and_its_gpu(cluster, undisturbed, slurm):
    trainings = [Training(cluster, trial) for trial in LONG]
    packed = ["--groups", "train=gpu", "--group-components", "gpu=2"]
    cluster.make(*packed, *QUICK, *(each.target for each in trainings))
    one, _ = together(trainings)  # one after the other, with this version of the plugin
    (job,) = [each for each in slurm.jobs() if each["JobId"] == one.job]
    assert (job["NumNodes"], job["NumCPUs"], job["JOB_GRES"]) == ("1", "2", "gpu:fake:1")
    for each in trainings:
        same(each.folder, undisturbed.results / each.trial)


def test_trainings_run_side_by_side_on_the_gpu_of_one_allocation(cluster, undisturbed):
    trainings = [Training(cluster, trial) for trial in LONG]
    (cluster.folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        "tiny.yaml",
        "--cores",
        "2",
        "--set-threads",
        "train=1",
    ]
    words = shlex.join([*command, "--", *(each.target for each in trainings)])
    options = [
        "--partition=gpu",
        "--gres=gpu:1",
        "--cpus-per-task=2",
        "--mem=12000",
        "--output=allocation.log",
        "--wait",
    ]
    done = subprocess.run(
        ["sbatch", *options, f"--wrap={words}"], cwd=cluster.folder, env=cluster.environment, timeout=PATIENCE
    )
    assert done.returncode == 0, (cluster.folder / "allocation.log").read_text()
    one, other = together(trainings)
    assert one.since < other.until and other.since < one.until
    for each in trainings:
        same(each.folder, undisturbed.results / each.trial)
