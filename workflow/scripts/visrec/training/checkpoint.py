"""What a training needs so that it cannot be lost: checkpoints, a claim on its trial, signals that stop it politely.

All of it is in one folder beside the trial's outputs. Snakemake is not told of that folder: what it knows of, it
deletes when a job fails.

    claim.json              who trains this trial; the newest claim wins
    000012000.safetensors   the state after 12,000 iterations; the newest two are kept, of a finished training the last

The last state outlives the job: Snakemake may still take its outputs for failed, and delete them. Who reads the model
afterwards removes it (`visrec.data.models.Model.forget_checkpoints`).

A state is tensors by name and a record that JSON can hold. Nothing in it is pickled, so opening one runs no code. It is
written to the disk whole before it gets its name, and it carries a checksum of everything in it.
"""

import hashlib
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from visrec.data.files import atomic, sync, write_json
from visrec.errors import StoppedError, SupersededError, UserError
from visrec.jobs.claims import Claim

log = logging.getLogger(__name__)

KEPT = 2
# SIGTERM: Slurm's scancel and time limit, and Snakemake when it is stopped. SIGUSR1: what sbatch --signal sends ahead
# of the limit. SIGINT: Ctrl-C, which reaches every process of a terminal.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

State = tuple[dict[str, Tensor], dict[str, Any]]


class Checkpoints:
    """The checkpoints of one trial, for one process: a context in which the trial is claimed and signals are caught.

    Ask for `newest` before entering: a start that is refused must not have taken the trial from another.

    Args:
        folder: where they are; made when entered.
        identity: what the states belong to (options, seed, fingerprints of data and code ...), for JSON. A state of
            another identity is refused.
        iterations: save at least every so many iterations,
        minutes: and every so many minutes.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], iterations: int, minutes: float):
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self.iterations, self.minutes = iterations, minutes
        self._claim = Claim.of_this_process()
        self._caught: int | None = None
        self._handlers: dict[int, Any] = {}
        self._saved_at, self._saved_iteration = time.monotonic(), 0
        self._damaged: set[Path] = set()

    def belong_to(self, **more: Any) -> None:
        """Add to the identity what shows only later, such as the precision that "auto" came to."""
        self.identity |= more

    def __enter__(self) -> "Checkpoints":
        """Claim the trial and catch signals.

        Raises:
            UserError: a live process on this machine trains this trial.
        """
        other = self._read_claim()
        if other and other.lives_here():
            raise UserError(
                f"{self.folder}: process {other.pid} on this machine is training this trial; wait for it or stop it"
            )
        if other:
            log.warning("process %d on %s had begun this trial; it is now ours", other.pid, other.host)
        write_json(self._claim_file, asdict(self._claim))
        if threading.current_thread() is threading.main_thread():  # elsewhere Python has no say in signals
            self._handlers = {number: signal.signal(number, self._catch) for number in SIGNALS}
        self._saved_at = time.monotonic()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Give the trial and the signals back.

        Raises:
            SupersededError: a file could not be written, and another process has claimed the trial: it clears away what
                it finds half-written.
        """
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, OSError):
            self.check()
        if self._claim_file.exists() and self._read_claim() == self._claim:
            self._claim_file.unlink(missing_ok=True)

    def newest(self) -> State | None:
        """The newest state that can be read, or None where there is none.

        Raises:
            UserError: it belongs to something else, or cannot be read for a reason other than damage.
        """
        gone: set[Path] = set()
        while files := [path for path in self._files() if path not in self._damaged | gone]:
            path = files[-1]
            try:
                tensors, record = _read(path)
            except FileNotFoundError:  # another process, which still trains this, has newer ones: look again
                gone.add(path)
                continue
            except _DamagedError as error:
                self._damaged.add(path)
                log.warning("%s is damaged (%s): taking the checkpoint before it", path, error)
                continue
            if record.get("finished") and record["identity"] != self.identity:
                log.info("%s is of a finished training of something else: passed over", path)
                gone.add(path)
                continue
            self._refuse_others(path, record["identity"])
            self._saved_iteration = record["iteration"]
            return tensors, record
        if self._damaged:
            log.warning("no checkpoint in %s can be read: training starts again, and ends with the same", self.folder)
        return None

    def keep(self, iteration: int, state: Callable[[], State]) -> None:
        """Save if it is time to; save and leave if a signal came.

        Args:
            iteration: how many are done.
            state: makes tensors and record, which are only asked for when they are saved.

        Raises:
            StoppedError: a signal came.
            SupersededError: another process has claimed the trial.
        """
        late = time.monotonic() - self._saved_at >= 60 * self.minutes
        if self._caught is None and not late and iteration - self._saved_iteration < self.iterations:
            return
        self._write(iteration, *state())
        self._saved_at, self._saved_iteration = time.monotonic(), iteration
        self._damaged.discard(self._file(iteration))
        whole = [path for path in self._files() if path <= self._file(iteration) and path not in self._damaged]
        for path in [*whole[:-KEPT], *self._damaged]:
            path.unlink(missing_ok=True)
        if self._caught is not None:
            name = signal.Signals(self._caught).name
            raise StoppedError(f"{name} after iteration {iteration}: saved in {self.folder}; run again to go on")

    def check(self) -> None:
        """Make sure that this process is still the one to write: to be called before anything is written.

        Raises:
            SupersededError: another process has claimed the trial since, or it was deleted.
        """
        current = self._read_claim()
        if current is None:
            if not self.folder.parent.exists():
                why = "the trial was deleted while this process trained it"
            else:  # whoever ends a training takes its claim away
                why = "another process, which has finished it, has taken over this trial"
            raise SupersededError(f"{self.folder}: {why}; leaving without writing")
        if current != self._claim:
            who = f"process {current.pid} on {current.host}"
            raise SupersededError(f"{self.folder}: {who} has taken over this trial; leaving without writing")

    def finish(self, iteration: int, state: Callable[[], State]) -> None:
        """Keep the state after the last iteration alone, from which a start has only the outputs to write.

        Args:
            iteration: how many are done.
            state: makes tensors and record.

        Raises:
            SupersededError: another process has claimed the trial.
        """
        tensors, record = state()
        self._write(iteration, tensors, {**record, "finished": True})
        litter = self.folder.glob(".*.tmp*")  # of a process that was killed while it wrote
        for path in [*self._files(), *litter]:
            if path != self._file(iteration):
                path.unlink(missing_ok=True)

    def _file(self, iteration: int) -> Path:
        return self.folder / f"{iteration:09d}.safetensors"

    def _files(self) -> list[Path]:
        """All states, oldest first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"))

    @property
    def _claim_file(self) -> Path:
        return self.folder / "claim.json"

    def _read_claim(self) -> Claim | None:
        try:
            return Claim(**json.loads(self._claim_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{self._claim_file}: is not a claim ({error}); delete it and run again") from error

    def _catch(self, number: int, _: FrameType | None) -> None:
        """Remember the signal. A second Ctrl-C does not wait; other signals may come twice for one request."""
        self._caught = number
        if number == signal.SIGINT:
            signal.signal(number, self._handlers[number])

    def _write(self, iteration: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps({**record, "identity": self.identity, "iteration": iteration})
        content = safetensors.torch.save(tensors, {"record": text, "sha256": _checksum(tensors, text)})
        self.check()
        with atomic(self._file(iteration)) as temporary:
            temporary.write_bytes(content)
            sync(temporary)  # a disk can take long, and who waits for it may have been given up
            self.check()

    def _refuse_others(self, path: Path, other: Mapping[str, Any]) -> None:
        difference = next(_differences(other, self.identity), None)
        if difference:
            name, there, here = difference
            raise UserError(
                f"{path}: belongs to another training ({name}: {there!r} there, {here!r} here); "
                f"delete {self.folder} to train from the start"
            )


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
    elif there != here:
        yield name, there, here


class _DamagedError(Exception):
    """A file that is not what was written."""


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path) -> State:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except safetensors.SafetensorError as error:
        raise _DamagedError(str(error).splitlines()[0]) from error
    except FileNotFoundError:  # gone meanwhile, which `newest` knows what to do about
        raise
    except OSError as error:  # it may be whole, and is not to be passed over
        raise UserError(f"{path}: cannot be read ({error}); fix it and run again") from error
    text = metadata.get("record", "")
    if metadata.get("sha256") != _checksum(tensors, text):
        raise _DamagedError("its checksum does not fit")
    return tensors, json.loads(text)
