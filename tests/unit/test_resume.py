import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "profiles/slurm/resume.py"
spec = importlib.util.spec_from_file_location("resume", SCRIPT)
resume = importlib.util.module_from_spec(spec)
spec.loader.exec_module(resume)


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A Slurm that has files for a queue: `queue` is what it prints, `cancelled` what it was asked to cancel."""
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    (tmp_path / "scancel").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/cancelled\n: > {tmp_path}/queue\n')
    for name in ("squeue", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    jobs = ((11, "visrec_aaaa"), (12, "visrec_bbbb"), (13, "visrec_aaaa"), (14, "other"))
    here = [f"{number} {name} {tmp_path}\n" for number, name in jobs]
    (tmp_path / "queue").write_text("".join(here) + "15 visrec_aaaa /the/original\n")
    return tmp_path


def test_run_ids_and_their_hosts_are_read_from_snakemakes_logs(tmp_path):
    for number, text in enumerate(
        (
            "SNAKEMAKE\n  Host: login1\nBuilding DAG of jobs...\nSLURM run ID: visrec_aaaa\n",
            "SNAKEMAKE\n  Host: login2\nNothing to be done\n",
            "SNAKEMAKE\n  Host: login2\nSLURM run ID: visrec_bbbb\n",
        )
    ):
        (tmp_path / f"2026-11-23T06423{number}.snakemake.log").write_text(text)
    assert resume.runs(tmp_path) == {"visrec_aaaa": "login1", "visrec_bbbb": "login2"}
    assert resume.runs(tmp_path / "none") == {}


def test_only_jobs_of_runs_that_were_started_here_are_cancelled(queue, capsys):
    resume.cancel({"visrec_aaaa": platform.node(), "visrec_cccc": "login9"})
    assert (queue / "cancelled").read_text() == "11 13\n"
    assert capsys.readouterr().err == "cancelling 2 jobs of a run that was killed: 11, 13\n"


def test_runs_of_another_host_may_be_alive_there(queue):
    with pytest.raises(SystemExit, match=r"^error: Snakemake was started on login9 and may still run there"):
        resume.cancel({"visrec_aaaa": platform.node(), "visrec_bbbb": "login9"})
    assert not (queue / "cancelled").exists()


def test_nothing_is_cancelled_where_nothing_is_left(queue):
    (queue / "queue").write_text(f"14 other {queue}\n")
    resume.cancel({"visrec_aaaa": platform.node()})
    resume.cancel({"visrec_aaaa": "login9", "visrec_cccc": platform.node()}, locked=True)
    assert not (queue / "cancelled").exists()


def test_a_lock_of_another_host_is_left_alone_though_no_job_is_in_the_queue(queue):
    (queue / "queue").write_text("")
    with pytest.raises(SystemExit, match=r"or, if that is gone: scancel --name=visrec_cccc, then snakemake --unlock$"):
        resume.cancel({"visrec_aaaa": platform.node(), "visrec_cccc": "login9"}, locked=True)


def test_where_slurm_does_not_answer_there_is_one_line(queue):
    (queue / "squeue").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SystemExit, match=r"^error: squeue does not answer"):
        resume.cancel({"visrec_aaaa": platform.node()})


def test_a_snakemake_that_runs_here_is_seen_and_its_jobs_are_not(tmp_path):
    (tmp_path / "snakemake").write_text("import time; time.sleep(60)\n")
    command = [sys.executable, "snakemake", "--profile", "profiles/slurm"]
    main = subprocess.Popen(command, cwd=tmp_path)
    job = subprocess.Popen([*command, "--mode", "remote"], cwd=tmp_path)
    try:
        assert resume.running(tmp_path) == [main.pid]
        assert resume.running(tmp_path.parent) == []
    finally:
        for process in (main, job):
            process.kill()
            process.wait()
