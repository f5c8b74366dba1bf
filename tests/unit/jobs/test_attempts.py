import os
import platform
import re
import time

from visrec.jobs import attempts


def test_every_attempt_has_a_log_that_stays(tmp_path, monkeypatch):
    log = tmp_path / "logs/train/seed~0.log"
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first = attempts.begin(log)
    attempts.say("error: x.h5: is empty; delete it", log, first)
    log.unlink()  # as Snakemake does
    monkeypatch.setenv("SLURMD_NODENAME", "gpu2")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    second = attempts.begin(log)
    assert [first.name, second.name] == ["seed~0.1.log", "seed~0.2.log"]
    assert log.read_text() == second.read_text()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d attempt 2 on gpu2, process {os.getpid()}, Slurm job 17, GPU 1\n",
        second.read_text(),
    )
    one, two = attempts.read(log)
    assert (one.number, one.node, one.job, one.gpus) == (1, platform.node(), None, None)
    assert (one.ended, one.last) == ("failed", "x.h5: is empty; delete it")
    assert (two.number, two.node, two.pid, two.job, two.gpus) == (2, "gpu2", os.getpid(), "17", "1")
    assert two.ended == ""
    assert abs(two.since - time.time()) < 10
    attempts.say("done after 3.0 s", log, second)
    assert attempts.read(log)[1].ended == "done"


def test_others_logs_are_not_taken_for_ones_own(tmp_path):
    for name in ("seed~1.log", "seed~1.1.log", "seed~10.4.log", "seed~1.x.log", "a+seed~1.7.log"):
        (tmp_path / name).write_text("2026-11-23 06:50:08 attempt 1 on node7, process 3\n")
    assert [each.number for each in attempts.read(tmp_path / "seed~1.log")] == [1]
    assert attempts.begin(tmp_path / "seed~1.log").name == "seed~1.2.log"
    assert attempts.read(tmp_path / "none/seed~1.log") == []


def test_a_log_that_is_just_being_begun_counts_and_is_not_read(tmp_path):
    (tmp_path / "a.1.log").touch()
    assert attempts.read(tmp_path / "a.log") == []
    assert attempts.begin(tmp_path / "a.log").name == "a.2.log"
