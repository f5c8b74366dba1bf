"""Whatever happens to a training, it ends as if nothing had happened, and two never write the same trial."""

import dataclasses
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import safetensors.torch
import torch
import training_fixture
from training_fixture import run

from visrec.data.files import remove_unfinished, sync, write_json
from visrec.errors import StoppedError, SupersededError, UserError
from visrec.jobs import claims, progress
from visrec.jobs.claims import Claim
from visrec.jobs.job import job
from visrec.networks import bodies
from visrec.training import checkpoint
from visrec.training import loop as training
from visrec.training.checkpoint import Checkpoints

SAME = ("model.safetensors",)
TIMINGS = ["images_per_second"]


class Forked:
    """A training in a copy of this process, which has imported torch: used as if it were a `subprocess.Popen`."""

    def __init__(self, folder: Path, iterations: int, save_every: int) -> None:
        folder.mkdir(exist_ok=True)
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            try:
                sys.stderr = self.stderr
                with job(folder / "train.log", threads=1):
                    run(folder, iterations=iterations, save_every=save_every)
                os._exit(0)
            except SystemExit as leave:
                os._exit(leave.code)
            finally:
                os._exit(1)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 60) -> int:
        until = time.monotonic() + timeout
        while self.returncode is None:
            assert time.monotonic() < until, f"process {self.pid} is still running"
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        self.stderr.seek(0)
        return self.returncode


def wait_for_iterations(folder: Path, count: int) -> None:
    """Until the history has so many rows."""
    for _ in range(30_000):
        if rows(folder) >= count:
            return
        time.sleep(0.002)
    raise AssertionError(f"{folder}: no training was seen")


def rows(folder: Path) -> int:
    """Of the history, one for each iteration."""
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def assert_the_same(one: Path, other: Path) -> None:
    for name in SAME:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    histories = [pd.read_csv(folder / "history.csv").drop(columns=TIMINGS) for folder in (one, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert [path.suffix for path in (other / "checkpoints").iterdir()] == [".safetensors"]  # the last state


@pytest.fixture(scope="module", autouse=True)
def as_in_the_other_processes():
    """Small nets and one thread here, too."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "WIDTH", training_fixture.WIDTH)
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, as_in_the_other_processes):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, iterations=40)
    return folder


def kill_and_finish(folder: Path, iterations: int, kills: int) -> dict:
    """Kill a training at random moments and start it again each time; returns the last one's status.json."""
    folder.mkdir()
    moments = random.Random(0)
    for _ in range(kills):
        (folder / "history.csv").unlink(missing_ok=True)
        process = Forked(folder, iterations, 3)
        wait_for_iterations(folder, 1)
        reached = rows(folder)  # a training that goes on has those before it, too
        wait_for_iterations(folder, min(iterations, reached + moments.randrange(8)))
        time.sleep(moments.uniform(0, 0.03))  # somewhere within an iteration, or while it saves or publishes
        process.kill()
        process.wait()
    run(folder, iterations=iterations, save_every=3)
    return json.loads((folder / "status.json").read_text())


def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path, undisturbed):
    status = kill_and_finish(tmp_path / "run", 40, kills=3)
    assert status["starts"] > 1
    assert_the_same(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_if_undisturbed(tmp_path):
    run(tmp_path / "undisturbed", iterations=300)
    status = kill_and_finish(tmp_path / "run", 300, kills=20)
    assert status["starts"] > 10
    assert_the_same(tmp_path / "undisturbed", tmp_path / "run")


def test_a_signal_saves_and_leaves_with_its_own_status(tmp_path, undisturbed):
    process = Forked(tmp_path, 40, 1000)
    wait_for_iterations(tmp_path, 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    (saved,) = (tmp_path / "checkpoints").glob("0*.safetensors")
    said = process.stderr.read().splitlines()[-1]
    assert said == (
        f"error: SIGTERM after iteration {int(saved.stem)}: saved in {tmp_path / 'checkpoints'}; run again to go on"
    )
    run(tmp_path, iterations=40)
    assert_the_same(undisturbed, tmp_path)
    assert json.loads((tmp_path / "status.json").read_text())["starts"] == 2


class CrashError(Exception):
    """Instead of a power failure."""


def crash_after(monkeypatch, iterations: int):
    """Let a training fail at the start of an iteration."""
    batch = training.Batches.__getitem__

    def failing(self, iteration):
        if iteration > iterations:
            raise CrashError
        return batch(self, iteration)

    monkeypatch.setattr(training.Batches, "__getitem__", failing)


@pytest.fixture(scope="module")
def both(tmp_path_factory, as_in_the_other_processes):
    """A training of 12 iterations that came to 9, with checkpoints of 6 and 8, and the same undisturbed."""
    folder = tmp_path_factory.mktemp("interrupted")
    run(folder / "whole", iterations=12)
    with pytest.MonkeyPatch.context() as patch:
        crash_after(patch, 9)
        with pytest.raises(CrashError):
            run(folder / "run", iterations=12, save_every=2)
    return folder


@pytest.fixture
def interrupted(both, tmp_path):
    """A copy of `both` that a test may spoil: whole, interrupted."""
    for name in ("whole", "run"):
        shutil.copytree(both / name, tmp_path / name)
    return tmp_path / "whole", tmp_path / "run"


def test_two_checkpoints_are_kept_and_the_newest_is_taken(interrupted, caplog):
    whole, folder = interrupted
    assert names(folder / "checkpoints") == ["000000006.safetensors", "000000008.safetensors"]
    with caplog.at_level("INFO"):
        run(folder, iterations=12, save_every=2)
    assert "going on from iteration 8" in caplog.text
    assert_the_same(whole, folder)


def test_in_bf16_it_ends_as_if_undisturbed_too(tmp_path):
    run(tmp_path / "whole", iterations=6, precision="bf16")
    with pytest.MonkeyPatch.context() as patch:
        crash_after(patch, 5)
        with pytest.raises(CrashError):
            run(tmp_path / "run", iterations=6, save_every=2, precision="bf16")
    run(tmp_path / "run", iterations=6, save_every=2, precision="bf16")
    assert json.loads((tmp_path / "run/status.json").read_text())["precision"] == "bf16"
    assert_the_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "other"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(interrupted, caplog, damage):
    whole, folder = interrupted
    path = folder / "checkpoints/000000008.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content = b""
    else:
        content = safetensors.torch.save({"a": torch.zeros(3)})
    path.write_bytes(content)
    with caplog.at_level("INFO"):
        run(folder, iterations=12, save_every=2)
    assert f"{path} is damaged" in caplog.text
    assert "going on from iteration 6" in caplog.text
    assert_the_same(whole, folder)


def test_if_no_checkpoint_can_be_read_training_starts_again_and_says_so(interrupted, caplog):
    whole, folder = interrupted
    for path in (folder / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"nonsense")
    run(folder, iterations=12)
    assert "no checkpoint in" in caplog.text
    assert_the_same(whole, folder)


def test_a_checkpoint_of_another_training_is_refused(interrupted):
    _, folder = interrupted
    with pytest.raises(UserError, match=r"\(options\.mu_x: 10 there, 50 here\); delete .*checkpoints to train from"):
        run(folder, iterations=12, mu_x=50)
    assert (folder / "checkpoints/000000008.safetensors").exists()


def test_a_finished_training_outlives_its_outputs(tmp_path):
    """Snakemake deletes outputs that it takes for out of date; the next start has only to write them again."""
    run(tmp_path, iterations=12)
    kept = {name: (tmp_path / name).read_bytes() for name in SAME}
    for name in (*SAME, "history.csv", "status.json"):
        (tmp_path / name).unlink()
    run(tmp_path, iterations=12)
    assert kept == {name: (tmp_path / name).read_bytes() for name in SAME}
    assert json.loads((tmp_path / "status.json").read_text())["iterations"] == 12
    assert names(tmp_path / "checkpoints") == ["000000012.safetensors"]
    run(tmp_path, iterations=12, mu_x=50)  # of something else: it is passed over, not refused
    assert names(tmp_path / "checkpoints") == ["000000012.safetensors"]
    assert kept != {name: (tmp_path / name).read_bytes() for name in SAME}


def test_a_half_written_checkpoint_is_passed_over_and_removed(interrupted):
    whole, folder = interrupted
    litter = folder / "checkpoints/.000000010.safetensors.x1.tmp.safetensors"
    litter.write_bytes(b"half")
    run(folder, iterations=12)
    assert_the_same(whole, folder)


def test_a_second_start_beside_a_live_one_on_this_machine_refuses(tmp_path, undisturbed):
    first = Forked(tmp_path, 40, 1000)
    wait_for_iterations(tmp_path, 2)
    first.send_signal(signal.SIGSTOP)  # so that it is not done before the second one is up
    with pytest.raises(UserError, match=f"process {first.pid} on this machine is training this trial"):
        run(tmp_path, iterations=40)
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=120) == 0
    assert_the_same(undisturbed, tmp_path)


def test_an_orphan_leaves_when_another_machine_has_claimed_its_trial(tmp_path, undisturbed):
    """A node that was given up still trains; its successor elsewhere has claimed the trial since."""
    orphan = Forked(tmp_path, 40, 3)
    wait_for_iterations(tmp_path, 4)
    claim = tmp_path / "checkpoints/claim.json"
    other = json.loads(claim.read_text()) | {"host": "elsewhere", "token": "newer"}
    write_json(claim, other)
    assert orphan.wait(timeout=60) == 76
    assert "process" in (said := orphan.stderr.read()) and "on elsewhere has taken over this trial" in said
    assert not (tmp_path / "model.safetensors").exists()
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    assert json.loads(before[claim]) == other
    run(tmp_path, iterations=40)  # on a third machine, which knows nothing of that process
    assert_the_same(undisturbed, tmp_path)


def test_an_orphan_does_not_publish_what_its_successor_has_finished(tmp_path, monkeypatch):
    """The successor was faster: it is done, and its claim is gone with the checkpoints."""
    run(tmp_path, iterations=3)
    finished = (tmp_path / "status.json").read_bytes()
    status = training._status

    def slow_status(*args):
        shutil.rmtree(tmp_path / "checkpoints")
        return status(*args)

    monkeypatch.setattr(training, "_status", slow_status)
    with pytest.raises(SupersededError, match="another process, which has finished it, has taken over this trial"):
        run(tmp_path, iterations=3)
    assert (tmp_path / "status.json").read_bytes() == finished
    assert names(tmp_path) == sorted([*SAME, "history.csv", "status.json"])


def test_a_trial_that_is_deleted_while_it_is_trained(tmp_path, monkeypatch):
    folder, status = tmp_path / "seed~0", training._status
    folder.mkdir()
    monkeypatch.setattr(training, "_status", lambda *args: shutil.rmtree(folder) or status(*args))
    with pytest.raises(SupersededError, match="checkpoints: the trial was deleted while this process trained it"):
        run(folder, iterations=3)
    assert not folder.exists()


@pytest.mark.parametrize("while_it", ["writes its status", "writes its history"])
def test_an_orphan_whose_half_written_files_are_cleared_away_leaves_as_superseded(tmp_path, monkeypatch, while_it):
    def successor_begins():
        claim = dataclasses.replace(Claim.of_this_process(), host="elsewhere")
        write_json(tmp_path / "checkpoints/claim.json", dataclasses.asdict(claim))
        for name in (*SAME, "history.csv", "status.json"):
            remove_unfinished(tmp_path / name)

    if while_it == "writes its status":
        status = training._status
        monkeypatch.setattr(training, "_status", lambda *args: successor_begins() or status(*args))
    else:
        beginning = lambda path: successor_begins() if ".history.csv." in path.name else None  # noqa: E731
        monkeypatch.setattr(training, "sync", lambda path: beginning(path) or sync(path))
    with pytest.raises(SupersededError, match="on elsewhere has taken over this trial"):
        run(tmp_path, iterations=3)
    assert names(tmp_path) in (["checkpoints"], ["checkpoints", "history.csv"])


def test_who_loses_the_trial_while_the_disk_is_slow_writes_no_state(tmp_path, monkeypatch):
    other = dataclasses.asdict(dataclasses.replace(Claim.of_this_process(), host="elsewhere"))
    monkeypatch.setattr(checkpoint, "sync", lambda path: write_json(tmp_path / "claim.json", other))
    late = Checkpoints(tmp_path, {}, 1, 60)
    with late, pytest.raises(SupersededError, match="on elsewhere has taken over"):
        late.keep(1, lambda: ({"a": torch.ones(2)}, {}))
    assert names(tmp_path) == ["claim.json"]


def test_a_record_that_is_not_the_one_written_is_damage(tmp_path, caplog):
    with Checkpoints(tmp_path, {}, 1, 60) as checkpoints:
        checkpoints.keep(1, lambda: ({"a": torch.ones(2)}, {"loss": 0.25}))
    path = tmp_path / "000000001.safetensors"
    content = path.read_bytes()
    assert content.count(b"0.25") == 1
    path.write_bytes(content.replace(b"0.25", b"0.75"))
    assert Checkpoints(tmp_path, {}, 1, 60).newest() is None
    assert "its checksum does not fit" in caplog.text


def test_states_that_vanish_while_they_are_looked_for_are_not_the_last_ones(tmp_path, monkeypatch):
    """Another machine's process saves twice between the listing of the folder and the reading of its files."""
    state = lambda number: lambda: ({"a": torch.full((2,), number)}, {})  # noqa: E731
    with Checkpoints(tmp_path, {}, 1, 60) as other:
        for number in (1, 2):
            other.keep(number, state(number))
        late = Checkpoints(tmp_path, {}, 1, 60)
        read, saved = checkpoint._read, []

        def slow_read(path):
            if not saved:
                for number in (3, 4):
                    other.keep(number, state(number))
                    saved.append(number)
            return read(path)

        monkeypatch.setattr(checkpoint, "_read", slow_read)
        tensors, record = late.newest()
    assert (tensors["a"].tolist(), record["iteration"]) == ([4, 4], 4)


def test_states_of_another_that_are_newer_stay(tmp_path):
    """They are as good as one's own, which come to the same."""
    (tmp_path / "000000001.safetensors").write_bytes(b"damaged")
    (tmp_path / "000000003.safetensors").write_bytes(b"damaged")
    mine = Checkpoints(tmp_path, {}, 1, 60)
    assert mine.newest() is None
    (tmp_path / "000000005.safetensors").write_bytes(b"another's")
    with mine:
        mine.keep(2, lambda: ({}, {}))
        assert names(tmp_path) == ["000000002.safetensors", "000000005.safetensors", "claim.json"]


def test_a_refused_start_leaves_tensorboard_alone(tmp_path, monkeypatch):
    boards = []
    monkeypatch.setattr(progress, "board", lambda *args: boards.append(args))
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, 1000, 60)
    with checkpoints, pytest.raises(UserError, match="is training this trial"):
        run(tmp_path, iterations=3)
    assert boards == []


def test_time_and_memory_are_those_of_the_loop(tmp_path, monkeypatch):
    status = training._status
    monkeypatch.setattr(training, "_status", lambda *args: time.sleep(1) or status(*args))
    run(tmp_path, iterations=1)
    assert json.loads((tmp_path / "status.json").read_text())["seconds"] < 1


def test_the_claim_of_a_dead_process_or_of_a_number_used_again_does_not_bind(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = dataclasses.replace(Claim.of_this_process(), pid=gone.pid)
    again = dataclasses.replace(Claim.of_this_process(), started=Claim.of_this_process().started - 1)
    zombie = subprocess.Popen(["true"])
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    unburied = dataclasses.replace(
        Claim.of_this_process(), pid=zombie.pid, started=claims._started(psutil.Process(zombie.pid))
    )
    for claim in (dead, again, unburied):
        (tmp_path / "claim.json").write_text(json.dumps(dataclasses.asdict(claim)))
        with Checkpoints(tmp_path, {}, 1, 1) as checkpoints:
            checkpoints.check()


def die_at_rename(number: int) -> None:
    count, replace = itertools.count(1), Path.replace
    Path.replace = lambda path, to: os._exit(1) if next(count) == number else replace(path, to)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_killed_at_any_rename_it_ends_as_if_undisturbed_and_leaves_nothing(tmp_path):
    """Renames are where what others see changes: in a checkpoint, in the history, in each of the final files."""
    run(tmp_path / "whole", iterations=4)
    status, at = 1, 0
    while status:
        at += 1
        folder = tmp_path / str(at)
        child = os.fork()
        if not child:
            die_at_rename(at)
            run(folder, iterations=4, save_every=2)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            run(folder, iterations=4, save_every=2)
        assert_the_same(tmp_path / "whole", folder)
        assert names(folder) == sorted([*SAME, "checkpoints", "history.csv", "status.json"])
    assert at > 9  # a claim, four rows, two checkpoints, three files


def test_a_refused_start_does_not_take_the_trial_from_another(interrupted):
    _, folder = interrupted
    claim = dataclasses.asdict(dataclasses.replace(Claim.of_this_process(), host="elsewhere"))
    write_json(folder / "checkpoints/claim.json", claim)
    with pytest.raises(UserError, match="belongs to another training"):
        run(folder, iterations=12, mu_x=50)
    assert json.loads((folder / "checkpoints/claim.json").read_text()) == claim


def test_a_checkpoint_that_cannot_be_opened_is_not_passed_over(interrupted, monkeypatch):
    def unreachable(path, framework):
        raise PermissionError(13, "Permission denied")

    _, folder = interrupted
    monkeypatch.setattr(checkpoint.safetensors, "safe_open", unreachable)
    with pytest.raises(UserError, match=r"000000008\.safetensors: cannot be read .*Permission denied"):
        run(folder, iterations=12)
    assert len(list((folder / "checkpoints").iterdir())) == 2


def test_a_full_disk_is_one_line_and_the_checkpoints_before_it_stay(interrupted, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    whole, folder = interrupted
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="the disk is full"):
            run(folder, iterations=12, save_every=2)
    assert names(folder / "checkpoints") == ["000000006.safetensors", "000000008.safetensors"]
    run(folder, iterations=12)
    assert_the_same(whole, folder)


def test_of_two_claims_the_newer_one_wins(tmp_path):
    (tmp_path / "claim.json").write_text(
        json.dumps(dataclasses.asdict(dataclasses.replace(Claim.of_this_process(), host="elsewhere")))
    )
    older = Checkpoints(tmp_path, {}, 1, 60)
    with older:
        other = dataclasses.replace(Claim.of_this_process(), host="elsewhere")
        (tmp_path / "claim.json").write_text(json.dumps(dataclasses.asdict(other)))
        with pytest.raises(SupersededError):
            older.keep(1, lambda: ({}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["claim.json"]


def test_a_claim_that_is_none_is_one_line(tmp_path):
    (tmp_path / "claim.json").write_text('{"host": 1')
    with pytest.raises(UserError, match="is not a claim"), Checkpoints(tmp_path, {}, 1, 1):
        pass


def test_saved_by_iterations_or_by_minutes_whichever_comes_first(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    saved = []

    def state():
        saved.append(iteration)
        return {"a": torch.tensor(iteration)}, {}

    with Checkpoints(tmp_path, {}, iterations=10, minutes=2) as checkpoints:
        for iteration in range(1, 40):
            now[0] += 60 if iteration <= 5 else 1
            checkpoints.keep(iteration, state)
    assert saved == [2, 4, 14, 24, 34]


def test_a_state_comes_back_as_it_was(tmp_path):
    tensors = {
        "scalar": torch.tensor(3.5),
        "counts": torch.arange(4),
        "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "none": torch.zeros(0, 3),
    }
    with Checkpoints(tmp_path, {"seed": (1, 2)}, 1, 60) as checkpoints:
        checkpoints.keep(1, lambda: (tensors, {"history": [{"x": 0.1 + 0.2, "y": float("nan")}]}))
        back, record = Checkpoints(tmp_path, {"seed": [1, 2]}, 1, 60).newest()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert record["history"][0]["x"] == 0.1 + 0.2


@pytest.mark.parametrize("number", checkpoint.SIGNALS)
def test_signals_save_and_are_given_back(tmp_path, number):
    before = [signal.getsignal(each) for each in checkpoint.SIGNALS]
    with Checkpoints(tmp_path, {}, 1000, 60) as checkpoints:
        checkpoints.keep(6, lambda: ({}, {}))
        os.kill(os.getpid(), number)
        with pytest.raises(StoppedError, match=f"{number.name} after iteration 7"):
            checkpoints.keep(7, lambda: ({}, {}))
    assert [signal.getsignal(each) for each in checkpoint.SIGNALS] == before
    assert [path.name for path in tmp_path.iterdir()] == ["000000007.safetensors"]
