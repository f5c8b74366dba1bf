"""The frame of every script: threads, a log file, errors in one line, a device."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from visrec.errors import FULL, REFUSED, StoppedError, UserError, writing
from visrec.jobs import attempts, clock

if TYPE_CHECKING:
    import torch

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

log = logging.getLogger("visrec")


@contextmanager
def job(
    log_file: str | Path, threads: int, inputs: Iterable[str | Path] = (), outputs: Iterable[str | Path] = ()
) -> Iterator[None]:
    """Run a rule's function.

    Import torch, NumPy and the like inside: they read their number of threads from the environment when imported.

    Args:
        log_file: for log messages, and the traceback of an error; each attempt has a permanent copy beside it.
        threads: number of threads of this job, whatever the number of cores of the machine.
        inputs: files that are read; one from the future ends the job before it works (`visrec.jobs.clock`).
        outputs: files that are written.

    Raises:
        SystemExit: after a `UserError`, with its exit status; its line goes to the screen and to the log.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not reproducible
    started = time.monotonic()
    files: list[Path] = []
    with _signals() as caught:
        try:
            with writing(log_file, FULL, REFUSED):
                files += [Path(log_file), attempts.begin(Path(log_file))]
                handlers = [logging.StreamHandler(), *(logging.FileHandler(file, encoding="utf-8") for file in files)]
            logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s", handlers=handlers)
            log.setLevel(logging.INFO)
            logging.raiseExceptions = False  # if the disk of the logs is full, messages are on the screen only
            inputs = [Path(path) for path in inputs]
            _refuse_special(inputs)
            clock.check(inputs, Path(next(iter(outputs), log_file)).parent)
            yield
        except KeyboardInterrupt:
            _stopped(caught, files)
        except Exception as error:
            if caught and not isinstance(error, StoppedError):  # an import that was interrupted may say anything
                _stopped(caught, files)
            if _lacks_memory(error):
                lacking = " ".join(str(error).split())
                error = UserError(
                    f"there is not enough memory ({lacking}); give the job more, or make `batch`, `latent` or the "
                    "images smaller"
                )
            if not isinstance(error, UserError):
                log.exception("failed")
                sys.exit(1)
            print(f"error: {error}", file=sys.stderr, flush=True)
            attempts.say(f"{attempts.STOPPED if isinstance(error, StoppedError) else attempts.ERROR}{error}", *files)
            sys.exit(error.exit_status)
    attempts.say(f"{attempts.DONE} {time.monotonic() - started:.1f} s", *files)


def _lacks_memory(error: Exception) -> bool:
    """Whether NumPy, or torch on a GPU or on the CPU, got no memory; the latter says so with an error of no type."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _refuse_special(inputs: Sequence[Path]) -> None:
    """Refuse pipes, sockets and devices in the place of files: who opens one may wait for ever, or read without end."""
    for path in inputs:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: is neither a file nor a folder; name a file")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Let SIGTERM, of Slurm and of Snakemake, end a job as Ctrl-C does: with a line in its log. Yields what came.

    A training, which has something to save, catches both by itself.
    """
    caught: list[int] = []

    def stop(number: int, _: object) -> None:
        again = number in caught
        caught.append(number)
        if not again or number == signal.SIGINT:  # SIGTERM may come twice for one request
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python has no say in signals
        numbers = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) != signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(caught: Sequence[int], files: Sequence[Path]) -> NoReturn:
    """Leave after a signal."""
    number = caught[0] if caught else signal.SIGINT
    how = "interrupted" if number == signal.SIGINT else f"interrupted by {signal.Signals(number).name}"
    print(f"error: {how}", file=sys.stderr, flush=True)
    attempts.say(f"{attempts.STOPPED}{how}", *files)
    sys.exit(128 + number)


def device(name: str) -> "torch.device":
    """The device for the config's `device`: "auto" (a GPU if there is one), "cpu" or "cuda".

    Raises:
        UserError: "cuda", and there is no GPU.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device: cuda was asked for, but torch sees no GPU here; set `device: auto` or ask the cluster for a GPU"
        )
    # By default cuDNN's convolutions round float32 inputs to TF32, and may use kernels that add in a varying order, so
    # that results are not reproducible bit by bit.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def commit(folder: str | Path) -> str | None:
    """The git commit of the checkout that `folder` is in, with "+" if files were changed; None outside a checkout."""
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no checkout, such as a copied folder
        return None
