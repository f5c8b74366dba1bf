"""Processes that call a function."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from visrec.errors import UserError
from visrec.jobs.processes import processes

JOB = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
from visrec.jobs.job import job
with job(sys.argv[1], 2):
    from visrec.jobs.processes import processes
    with processes(time.sleep, 2, "ended") as submit:
        sleeping = [submit(float(sys.argv[2])) for _ in range(2)]
        submit(0)
        print("ready", flush=True)
        sleeping[0].result()
"""


def test_each_call_has_its_result():
    with processes(math.comb, 3, "ended") as submit:
        futures = [submit(n, 2) for n in range(40)]
        assert [future.result() for future in futures] == [n * (n - 1) // 2 for n in range(40)]


def test_a_process_that_dies_is_one_line():
    with processes(os._exit, 1, "it ended") as submit, pytest.raises(UserError, match=r"^it ended$"):
        submit(0).result()


def test_what_is_printed_is_no_answer(capfd):
    with processes(print, 1, "ended") as submit:
        assert submit("a line").result() is None
    assert "a line" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("stop", "group", "seconds", "status"),
    [
        (signal.SIGINT, True, 60, 130),
        (signal.SIGTERM, True, 60, 143),
        (signal.SIGTERM, False, 60, 143),
        (signal.SIGKILL, False, 2, -signal.SIGKILL),  # then the processes end when they have done what was begun
    ],
)
def test_a_job_that_is_stopped_leaves_no_process(tmp_path, stop, group, seconds, status):
    command = [sys.executable, "-c", JOB, tmp_path / "job.log", str(seconds)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "ready\n"
        time.sleep(0.5)  # until both have begun
        (os.killpg if group else os.kill)(job.pid, stop)
        assert job.wait(timeout=20) == status
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(job.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes are left")
