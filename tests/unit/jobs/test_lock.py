"""A folder of results belongs to the Snakemakes of one checkout."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visrec.errors import UserError
from visrec.jobs import lock

SCRIPTS = Path(__file__).parents[3] / "workflow/scripts"
HOLD = """
import sys, time
from pathlib import Path
from visrec.errors import UserError
from visrec.jobs import lock
try:
    lock.take(Path(sys.argv[1]), sys.argv[2] or None)
    print("taken", flush=True)
except UserError as error:
    print(error, flush=True)
time.sleep(60)
"""


def elsewhere(results: Path, checkout: Path, run: str = "") -> tuple[subprocess.Popen, str]:
    """A process in another checkout that takes the lock, and what it says."""
    checkout.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", HOLD, str(results), run]
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.fixture
def results(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "results"


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_another_checkout_is_refused_until_the_first_is_gone(results, tmp_path):
    process, said = elsewhere(results, tmp_path / "theirs")
    try:
        assert said == "taken"
        with pytest.raises(UserError) as caught:
            lock.take(results)
        expected = f"{results}: Snakemake works on these results from another checkout, {tmp_path}/theirs on "
        assert str(caught.value).startswith(f"{expected}{platform.node()} (process {process.pid}); wait for it")
    finally:
        end(process)
    release = lock.take(results)  # it was killed, and its file is still there
    assert [each.folder for each in lock._holders(results / ".lock").values()] == [str(tmp_path / "mine")]
    release()
    assert list(results.iterdir()) == []


def test_one_checkout_may_run_twice(results, tmp_path):
    """Snakemake's own lock decides there."""
    process, said = elsewhere(results, tmp_path / "mine")
    try:
        assert said == "taken"
        release = lock.take(results)
        assert len(list((results / ".lock").iterdir())) == 2
        release()
        other, refused = elsewhere(results, tmp_path / "theirs")
        end(other)
        assert "another checkout" in refused
    finally:
        end(process)


def test_of_many_that_start_at_once_one_comes_through(results, tmp_path):
    (results / ".lock").mkdir(parents=True)
    gone = write(results, pid=2**22 + 1)
    started = [elsewhere(results, tmp_path / f"checkout{number}") for number in range(4)]
    for process, _ in started:
        end(process)
    assert sorted(said == "taken" for _, said in started) == [False, False, False, True]
    assert not gone.exists()
    assert len(list((results / ".lock").iterdir())) == 1


def write(results: Path, **about: object) -> Path:
    """The file of a Snakemake in another checkout."""
    whole = {"host": platform.node(), "pid": os.getpid(), "started": 0.0, "job": None, "token": "x"}
    whole |= {"folder": "/theirs", "run": None} | about
    file = results / ".lock/x.json"
    file.write_text(json.dumps(whole))
    return file


@pytest.mark.parametrize("age, refused", [(60, True), (3600, False)])
def test_on_another_machine_silence_means_death(results, age, refused):
    (results / ".lock").mkdir(parents=True)
    file = write(results, host="login9")
    os.utime(file, (time.time() - age,) * 2)
    if refused:
        with pytest.raises(UserError, match=f"on login9 .*if that machine is gone, delete {file}$"):
            lock.take(results)
    else:
        lock.take(results)()
        assert not file.exists()


def test_a_snakemake_in_a_job_is_dead_when_the_job_is_over(results, tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\ncat queue\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (results / ".lock").mkdir(parents=True)
    write(results, host="node9", job="17")
    for queue, mine, refused in (
        ("17|RUNNING\n", "18", True),
        ("17|RUNNING\n", "17", False),
        ("18|RUNNING\n", "18", False),
    ):
        Path("queue").write_text(queue)
        monkeypatch.setenv("SLURM_JOB_ID", mine)
        if refused:
            with pytest.raises(UserError, match="on node9"):
                lock.take(results)
            continue
        lock.take(results)()
        (results / ".lock").mkdir()
        write(results, host="node9", job="17")


def test_jobs_of_a_dead_run_hold_the_lock(results, tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text('#!/bin/sh\ncase "$*" in *--name=visrec_dead) cat queue;; esac\n')
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Path("queue").write_text("17\n")
    (results / ".lock").mkdir(parents=True)
    file = write(results, pid=2**22 + 1, run="visrec_dead")
    assert lock.runs(results) == {"visrec_dead"}
    with pytest.raises(UserError, match=r"run `make resume` there, or scancel --name=visrec_dead$"):
        lock.take(results)
    write(results, pid=2**22 + 1, run="visrec_dead", folder=str(Path.cwd()))  # one's own are for `make resume`
    lock.take(results)()
    assert file.exists()
    Path("queue").write_text("")
    lock.take(results)()
    assert not file.exists()


def test_a_sign_of_life(results, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    release = lock.take(results)
    (file,) = (results / ".lock").iterdir()
    os.utime(file, (0, 0))
    for _ in range(100):
        time.sleep(0.05)
        if file.stat().st_mtime:
            break
    assert file.stat().st_mtime > 1e9
    release()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"host": 3}', "[" * 5000])
def test_a_damaged_lock_is_one_line(results, content):
    (results / ".lock").mkdir(parents=True)
    (results / ".lock/x.json").write_text(content)
    with pytest.raises(UserError, match=r"\.lock/x\.json: is no lock .*; delete it and run again$"):
        lock.take(results)
    assert lock.runs(results) == set()


@pytest.mark.parametrize("odd", ["a file", "a stray file in it"])
def test_a_lock_that_cannot_be_taken_away_is_one_line(results, odd, monkeypatch):
    monkeypatch.setattr(lock, "PAUSE", 0)
    place = results / lock.NAME
    if odd == "a file":
        results.mkdir(parents=True, exist_ok=True)
        place.write_text("")
    else:
        place.mkdir(parents=True)
        (place / ".nfs01").write_text("")
    with pytest.raises(UserError, match=r"\.lock: nobody holds it, and it cannot be taken away .*; have it deleted"):
        lock.take(results)
    assert [path.name for path in results.iterdir()] == [lock.NAME]
