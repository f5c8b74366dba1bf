import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import disk_fixture
import pytest
import torch

from visrec.errors import UserError
from visrec.jobs import attempts
from visrec.jobs.job import THREAD_VARIABLES, _lacks_memory, device

SCRIPTS = Path(__file__).parents[3] / "workflow/scripts"


def run(body: str, log: Path) -> subprocess.CompletedProcess:
    imports = "from visrec.errors import UserError\nfrom visrec.jobs.job import job, log"
    program = f"{imports}\nwith job({str(log)!r}, 1):\n    {body}\n"
    env = os.environ | {"PYTHONPATH": str(SCRIPTS)} | dict.fromkeys(THREAD_VARIABLES, "3")  # as some clusters have them
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)


def test_a_user_error_is_one_line_on_screen_and_in_the_log(tmp_path):
    done = run("raise UserError('x.h5: is empty; delete it')", tmp_path / "logs/a.log")
    assert done.returncode == 1
    assert done.stderr == "error: x.h5: is empty; delete it\n"
    first, last = (tmp_path / "logs/a.log").read_text().splitlines()
    assert " attempt 1 on " in first
    assert last == "error: x.h5: is empty; delete it"
    assert (tmp_path / "logs/a.1.log").read_text() == (tmp_path / "logs/a.log").read_text()


def test_a_stop_is_not_a_failure_in_the_log(tmp_path):
    done = run("from visrec.errors import StoppedError; raise StoppedError('saved')", tmp_path / "a.log")
    assert (done.returncode, done.stderr) == (75, "error: saved\n")
    assert (tmp_path / "a.log").read_text().splitlines()[-1] == "stopped: saved"
    (attempt,) = attempts.read(tmp_path / "a.log")
    assert (attempt.ended, attempt.last) == ("stopped", "saved")


def test_where_no_log_can_be_begun_there_is_one_line(small_disk):
    disk_fixture.fill(small_disk)
    done = run("1 / 0", small_disk / "a.log")
    assert done.returncode == 1
    assert done.stderr == f"error: {small_disk}/a.log: the disk is full; make room and run again\n"


def test_what_there_is_to_say_is_on_the_screen_though_the_logs_disk_is_full(small_disk):
    body = (
        f"import sys; sys.path.append({str(Path(disk_fixture.__file__).parent)!r}); import pathlib, disk_fixture; "
        f"disk_fixture.fill(pathlib.Path({str(small_disk)!r})); "
        "log.info('reading ' * 1000); raise UserError('x.h5: is empty; delete it')"
    )
    done = run(body, small_disk / "a.log")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: x.h5: is empty; delete it"
    assert "Traceback" not in done.stderr
    (attempt,) = attempts.read(small_disk / "a.log")
    assert attempt.number == 1


def test_an_interrupted_job_says_so(tmp_path):
    done = run("raise KeyboardInterrupt", tmp_path / "a.log")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    (attempt,) = attempts.read(tmp_path / "a.log")
    assert (attempt.ended, attempt.last) == ("stopped", "interrupted")


def test_a_lack_of_memory_is_one_line(tmp_path):
    done = run("import numpy; numpy.ones(2**59)", tmp_path / "a.log")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert re.match(r"error: there is not enough memory \(.*\); give the job more, or make `batch`", done.stderr)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**59)
    assert _lacks_memory(caught.value)
    assert _lacks_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not _lacks_memory(RuntimeError("shapes cannot be multiplied"))


def test_another_error_has_its_traceback_in_the_log(tmp_path):
    done = run("1 / 0", tmp_path / "a.log")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_threads_are_those_given_and_messages_are_logged(tmp_path):
    variables = f"{{os.environ[name] for name in {THREAD_VARIABLES}}}"
    body = f"import os, torch; log.info('threads %d, %s', torch.get_num_threads(), {variables})"
    done = run(body, tmp_path / "a.log")
    assert done.returncode == 0
    assert "threads 1, {'1'}" in (tmp_path / "a.log").read_text()
    assert (tmp_path / "a.log").read_text().splitlines()[-1].startswith("done after ")
    assert (tmp_path / "a.1.log").read_text() == (tmp_path / "a.log").read_text()


def test_device(monkeypatch):
    for name, other in (("allow_tf32", True), ("deterministic", False)):
        monkeypatch.setattr(torch.backends.cudnn, name, other)
    assert device("cpu").type == "cpu"
    assert not torch.backends.cudnn.allow_tf32  # 10 bits of a float32's 23
    assert torch.backends.cudnn.deterministic
    if not torch.cuda.is_available():
        assert device("auto").type == "cpu"
        with pytest.raises(UserError, match="torch sees no GPU here; set `device: auto`"):
            device("cuda")


@pytest.mark.parametrize("kind, words", [("future", "is from the future, dated "), ("pipe", "is neither a file nor")])
def test_an_input_that_is_no_good_stops_a_job_before_it_works(tmp_path, kind, words):
    if kind == "pipe":
        os.mkfifo(tmp_path / "images.h5")  # who opens it waits for a writer
    else:
        (tmp_path / "images.h5").touch()
        os.utime(tmp_path / "images.h5", (time.time() + 7200,) * 2)
    program = f"""
from visrec.jobs.job import job
with job("{tmp_path}/a.log", 1, ["{tmp_path}/images.h5"], ["{tmp_path}/out/model"]):
    print("worked")
"""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path}/images.h5: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "body", ["time.sleep(60)", "\n        time.sleep(60)\n    finally:\n        raise ImportError('x')"]
)
@pytest.mark.parametrize("number, how", [(signal.SIGTERM, "interrupted by SIGTERM"), (signal.SIGINT, "interrupted")])
def test_a_job_that_a_signal_ends_says_so_wherever_it_is(tmp_path, body, number, how):
    """Also while it imports, where what comes out may be any exception."""
    body = f"try:{body}" if body.startswith("\n") else body
    program = f"""
import signal, time
from visrec.jobs.job import job
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests with & has it ignored
with job("{tmp_path}/a.log", 1):
    {body}
"""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment)
    while not (tmp_path / "a.1.log").exists() or not (tmp_path / "a.1.log").read_text():
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    assert process.communicate()[1] == f"error: {how}\n"
    assert process.returncode == 128 + number
    (attempt,) = attempts.read(tmp_path / "a.log")
    assert (attempt.ended, attempt.last) == ("stopped", how)
