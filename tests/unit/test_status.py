import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from visrec import status
from visrec.config import check

AGE = "digits/32px/age/lambda_z~1000+mu_x~10+seed~0"
PCA = "digits/32px/pca/seed~0"
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
    now = time.strftime("%H:%M")
    assert state(results) == (f"training on node7 since {now}", "5,000 of 6,250", "7 min")  # 1,250 * 64 / 200 = 400 s


def test_a_training_here_and_one_that_was_killed_here(results):
    claim(results, host=platform.node(), pid=os.getpid())
    assert state(results)[0].startswith(f"training on {platform.node()} since ")
    gone = subprocess.Popen(["true"])
    gone.wait()
    claim(results, host=platform.node(), pid=gone.pid)
    assert state(results) == (f"stopped on {platform.node()}", "5,000 of 6,250", "")


def test_a_training_that_left_after_a_signal_waits_where_it_was(results):
    claim(results)
    (results / AGE / "checkpoints/claim.json").unlink()
    assert state(results) == ("waiting", "5,000 of 6,250", "")


def test_a_failure_says_in_which_rule_and_why(results):
    log = results / f"logs/evaluate/{AGE}/svm.log"
    log.parent.mkdir(parents=True)
    (results / AGE / "embeddings.h5").touch()
    (results / AGE / "knn.csv").touch()
    assert state(results) == ("embedded", "1 of 2 scores", "")
    log.write_text("reading\nerror: x.h5: is empty; delete it\n")
    assert state(results) == ("failed in evaluate: x.h5: is empty; delete it", "", "")
    log.write_text("Traceback (most recent call last):\n  File\nMemoryError\n")
    assert state(results)[0] == "failed in evaluate: MemoryError"
    (results / AGE / "svm.csv").touch()  # it was run again
    assert state(results) == ("done", "", "")


@pytest.mark.parametrize("how, shown", [("ok", ""), ("diverged", ", diverged"), ("collapsed", ", collapsed")])
def test_how_a_training_ended(results, how, shown):
    (results / AGE / "status.json").write_text(json.dumps({"status": how}))
    assert state(results)[0] == f"trained{shown}"
    (results / AGE / "embeddings.h5").touch()
    assert state(results) == (f"embedded{shown}", "0 of 2 scores", "")
    for name in ("knn.csv", "svm.csv"):
        (results / AGE / name).touch()
    (results / AGE / "embeddings.h5").unlink()  # to save space
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
    for name in ("knn.csv", "svm.csv"):
        (tmp_path / "results/tiny" / PCA / name).touch()
    program = (
        "import sys; from visrec.status import main; main(); "
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
    command = [sys.executable, "-m", "visrec.status", "--configfile", "tiny.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: config: unknown key 'sedes'")
    assert len(done.stderr.splitlines()) == 1
