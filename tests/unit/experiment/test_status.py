import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from visrec.experiment import status
from visrec.experiment.config import check
from visrec.jobs import lock
from visrec.jobs.claims import Claim
from visrec.jobs.slurm_queue import Queued

SCRIPTS = Path(__file__).parents[3] / "workflow/scripts"
AGE = "digits/32px/age/lambda_z~1000+mu_x~10+seed~0"
PCA = "digits/32px/pca/seed~0"
FILES = ("knn.csv", "svm.csv", "neighbours.csv", "projection.csv", "atlas.csv", "selectors.csv")
FILES += ("samples.png", "reconstructions.png")
CONFIG = {
    "experiment": "tiny",
    "datasets": {"digits": {"sizes": [32]}},
    "encoders": {"pca": {}, "age": {"iterations": 6250, "batch": 64, "grid": {"lambda_z": [1000], "mu_x": [10]}}},
    "evaluators": {"knn": {}, "svm": {}},
}


@pytest.fixture
def results(tmp_path):
    (tmp_path / PCA).mkdir(parents=True)
    (tmp_path / AGE / "checkpoints").mkdir(parents=True)
    return tmp_path


def state(results: Path, trial: str = AGE) -> tuple[str, str, str]:
    (row,) = (row for row in status.table(check(CONFIG), results) if row["trial"] == trial)
    return row["state"], row["progress"], row["left"]


def claim(results: Path, **changed: object) -> None:
    content = {"host": "node7", "pid": 1, "started": 0.0, "job": None, "token": "x"} | changed
    (results / AGE / "checkpoints/claim.json").write_text(json.dumps(content))
    (results / AGE / "history.csv").write_text("iteration,images_per_second\n1000,160.0\n5000,200.0\n")


def test_nothing_is_there_yet(results):
    assert state(results) == ("waiting", "", "")
    assert state(results, PCA) == ("waiting", "", "")


def test_a_training_elsewhere(results):
    claim(results)
    file = results / AGE / "checkpoints/claim.json"
    now = time.strftime("%H:%M", time.localtime(file.stat().st_mtime))
    assert state(results) == (f"training on node7 since {now}", "5,000 of 6,250", "7 min")  # 1,250 * 64 / 200 = 400 s


def test_a_training_here_and_one_that_was_killed_here(results):
    mine = dataclasses.asdict(Claim.of_this_process())
    claim(results, **mine)
    assert state(results)[0].startswith(f"training on {platform.node()} since ")
    gone = subprocess.Popen(["true"])
    gone.wait()
    claim(results, **mine | {"pid": gone.pid})
    assert state(results) == (f"stopped on {platform.node()}", "5,000 of 6,250", "")
    claim(results, **mine | {"started": mine["started"] - 60})  # its number was given to another since
    assert state(results) == (f"stopped on {platform.node()}", "5,000 of 6,250", "")


def test_a_training_that_left_after_a_signal_stopped_where_it_was(results):
    claim(results)
    (results / AGE / "checkpoints/claim.json").unlink()
    assert state(results) == ("waiting", "5,000 of 6,250", "")
    log = results / f"logs/train/{AGE}.1.log"
    log.parent.mkdir(parents=True)
    begun = "2026-11-23 06:50:08 attempt 1 on node7, process 7\n"
    log.write_text(f"{begun}stopped: SIGINT after iteration 5000: saved in x; run again to go on\n")
    assert state(results) == ("stopped on node7", "5,000 of 6,250", "")


def test_what_is_made_again_is_not_done(results):
    for name in FILES:
        (results / AGE / name).touch()
    assert state(results) == ("done", "", "")
    claim(results)
    assert state(results)[0].startswith("training on node7 since ")
    claim(results, host=platform.node())  # which is dead
    assert state(results) == ("done", "", "")
    (results / AGE / "checkpoints/claim.json").unlink()
    log = results / f"logs/train/{AGE}.1.log"
    log.parent.mkdir(parents=True)
    begun = "2026-11-23 06:50:08 attempt 1 on node7, process 7\n"
    for last, shown in (("stopped: SIGINT", "stopped on node7"), ("error: x", "failed in train at attempt 1: x")):
        log.write_text(f"{begun}{last}\n")
        later = time.time() + 10
        os.utime(log, (later, later))
        assert state(results)[0] == shown
        os.utime(log, (0, 0))  # of long ago: what is there was made since
        assert state(results) == ("done", "", "")


def test_a_config_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    long = {name: [f"{'x' * 120}{name}"] for name in ("layers", "model")}  # each in the trial's name
    digits = {"experiment": "e", "datasets": {"digits": {"sizes": [32]}}, "evaluators": {"knn": {}}}
    named = json.dumps(digits | {"encoders": {"pretrained": {"grid": long}}})
    for content, message in (
        ("a: [", "is not YAML"),
        ("", "config: is empty"),
        ("- a\n", "is empty or a list"),
        (named, "a trial's name has"),
    ):
        path.write_text(content)
        command = [sys.executable, "-m", "visrec.experiment.status", "--configfile", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPTS, check=False)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert message in done.stderr


def test_a_failure_says_in_which_rule_at_which_attempt_and_why(results):
    log = results / f"logs/evaluate/{AGE}/svm"
    log.parent.mkdir(parents=True)
    (results / AGE / "layers.csv").touch()
    (results / AGE / "knn.csv").touch()
    assert state(results) == ("embedded", "1 of 8 results", "")
    first = f"2026-11-23 06:50:08 attempt 1 on node7, process {os.getpid()}\nreading\n"
    Path(f"{log}.1.log").write_text(f"{first}error: x.h5: is empty; delete it\n")
    assert state(results) == ("failed in evaluate at attempt 1: x.h5: is empty; delete it", "", "")
    Path(f"{log}.2.log").write_text(
        first.replace("attempt 1", "attempt 2") + "Traceback (most recent call last):\n  File\nMemoryError\n"
    )
    assert state(results)[0] == "failed in evaluate at attempt 2: MemoryError"
    (results / AGE / "svm.csv").touch()  # it was run again
    for name in FILES:
        (results / AGE / name).touch()
    assert state(results) == ("done", "", "")


def test_what_runs_now_is_named_with_its_node(results):
    log = results / f"logs/embed/{PCA}.1.log"
    log.parent.mkdir(parents=True)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    log.write_text(f"{now} attempt 1 on {platform.node()}, process {os.getpid()}\n")
    assert state(results, PCA)[0] == f"embed on {platform.node()} since {now[11:16]}"
    # Of a process that began before this one did, which has its number now.
    log.write_text(f"2026-11-23 06:50:08 attempt 1 on {platform.node()}, process {os.getpid()}\n")
    assert state(results, PCA)[0].startswith("failed in embed at attempt 1: killed on ")
    gone = subprocess.Popen(["true"])
    gone.wait()
    log.write_text(f"2026-11-23 06:50:08 attempt 1 on {platform.node()}, process {gone.pid}\n")
    how = f"failed in embed at attempt 1: killed on {platform.node()}"
    assert state(results, PCA)[0] == how
    log.write_text(f"2026-11-23 06:50:08 attempt 1 on {platform.node()}, process {gone.pid}, Slurm job 12\n")
    assert state(results, PCA)[0] == f"{how}, Slurm's log may say why"


def job(
    number: str, rule: str, state: str, trial: str = "digits_32_age_lambda_z~1000+mu_x~10+seed~0", **more: str
) -> Queued:
    about = {"run": "visrec_mine", "reason": "Priority", "folder": str(Path.cwd())} | more
    return Queued(number, state, rule=rule, wildcards=trial, **about)


def test_slurm_knows_what_became_of_a_training(results):
    claim(results, host="gpu2", job="12")
    config = check(CONFIG)

    def shown(*jobs: Queued) -> str:
        (row,) = (row for row in status.table(config, results, jobs) if row["trial"] == AGE)
        return row["state"]

    assert shown(job("12", "train", "RUNNING")).startswith("training on gpu2 since ")
    assert shown(job("13", "train", "RUNNING")) == "stopped on gpu2"
    assert shown(job("12", "train", "PENDING")) == "queued for train"  # its node was lost
    (results / AGE / "checkpoints/claim.json").unlink()
    assert shown(job("12", "train", "PENDING")) == "queued for train"
    assert shown(job("12", "evaluate", "PENDING", "digits_32_age_lambda_z~1000+mu_x~10+seed~0_knn")) == (
        "queued for evaluate"
    )
    assert shown(job("12", "train", "PENDING", "digits_32_age_lambda_z~1000+mu_x~10+seed~01")) == "waiting"


def test_jobs_of_other_checkouts_and_experiments_are_not_ours(tmp_path):
    results, other = tmp_path / "results/tiny", tmp_path / "results/other"
    config = check(CONFIG)
    other.mkdir(parents=True)
    release = lock.take(other, "visrec_theirs")

    def shown(**more: str) -> str:
        (row,) = (r for r in status.table(config, results, [job("7", "train", "PENDING", **more)]) if r["trial"] == AGE)
        return row["state"]

    try:
        assert shown() == "queued for train"
        assert shown(folder="/home/colleague/visrec") == "waiting"
        assert shown(run="visrec_theirs") == "waiting"
    finally:
        release()
    (tmp_path / "link").symlink_to(Path.cwd())
    assert shown(folder=str(tmp_path / "link")) == "queued for train"


@pytest.mark.parametrize(
    "state_, reason, expected",
    [
        ("PENDING", "Resources", "queued for train"),
        ("PENDING", "launch failed requeued held", "held for train: launch failed requeued held; to release it: {}"),
        ("PENDING", "JobHeldUser", "held for train: JobHeldUser; to release it: {}"),
        ("REQUEUE_HOLD", "None", "held for train: to release it: {}"),
        ("PENDING", "JobHeldAdmin", "held for train: JobHeldAdmin; ask those who run the cluster"),
        ("PENDING", "PartitionTimeLimit", "queued for train: PartitionTimeLimit"),
    ],
)
def test_what_is_held_and_how_it_goes_on(results, state_, reason, expected):
    jobs = [job("6", "embed", "PENDING"), job("7", "train", state_, reason=reason)]
    jobs = jobs if expected.startswith("held") else jobs[1:]
    (row,) = (row for row in status.table(check(CONFIG), results, jobs) if row["trial"] == AGE)
    assert row["state"] == expected.format("scontrol release 7")


def test_an_empty_log_is_a_full_disk(results):
    log = results / f"logs/train/{AGE}.2.log"
    log.parent.mkdir(parents=True)
    log.with_name(log.name.replace(".2.", ".1.")).write_text("2026-11-23 06:50:08 attempt 1 on node7, process 7\n")
    log.touch()
    assert state(results)[0] == "train on node7 since 2026-11-23 06:50"  # it may just begin
    os.utime(log.with_name(log.name.replace(".2.", ".1.")), (time.time() - 300,) * 2)
    os.utime(log, (time.time() - 100,) * 2)
    expected = "failed in train at attempt 2: its log is empty, as on a full disk; make room, then run the same command"
    assert state(results)[0] == f"{expected} again"


@pytest.mark.parametrize("how, shown", [("ok", ""), ("diverged", ", diverged"), ("collapsed", ", collapsed")])
def test_how_a_training_ended(results, how, shown):
    (results / AGE / "status.json").write_text(json.dumps({"status": how}))
    assert state(results)[0] == f"trained{shown}"
    (results / AGE / "layers.csv").touch()  # embeddings.h5 itself may be deleted, or temporary
    assert state(results) == (f"embedded{shown}", "0 of 8 results", "")
    for name in FILES:
        (results / AGE / name).touch()
    assert state(results) == (f"done{shown}", "", "")


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_files_that_are_being_written_or_are_none_do_not_stop_it(results, content):
    claim(results)
    (results / AGE / "checkpoints/claim.json").write_text(content)
    (results / AGE / "history.csv").write_text(content)
    assert state(results) == ("waiting", "", "")


def test_the_command_prints_a_table_and_is_light(results, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (tmp_path / "results/tiny" / PCA).mkdir(parents=True)
    for name in FILES:
        (tmp_path / "results/tiny" / PCA / name).touch()
    program = (
        "import sys; from visrec.experiment.status import main; main(); "
        "print(sorted({'torch', 'pandas', 'h5py', 'sklearn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, "--configfile", "tiny.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["trial", "state", "progress", "left"]
    assert [line.split()[:2] for line in lines[1:3]] == [[PCA, "done"], [AGE, "waiting"]]
    assert lines[-2:] == ["1 of 2 trials done", "[]"]


def test_a_wrong_config_is_one_line(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"sedes": [1]}))
    command = [sys.executable, "-m", "visrec.experiment.status", "--configfile", "tiny.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: config: unknown key 'sedes'")
    assert len(done.stderr.splitlines()) == 1
