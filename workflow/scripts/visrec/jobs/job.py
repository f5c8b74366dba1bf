"""The frame of every script: threads, a log file, errors in one line, a device."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
    files = []
    try:
        with writing(log_file, FULL, REFUSED):
            files = [Path(log_file), attempts.begin(Path(log_file))]
            handlers = [logging.StreamHandler(), *(logging.FileHandler(file, encoding="utf-8") for file in files)]
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s", handlers=handlers)
        log.setLevel(logging.INFO)
        logging.raiseExceptions = False  # if the disk of the logs is full, messages are on the screen only
        clock.check(inputs, Path(next(iter(outputs), log_file)).parent)
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        attempts.say(f"{attempts.STOPPED if isinstance(error, StoppedError) else attempts.ERROR}{error}", *files)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr, flush=True)
        attempts.say(f"{attempts.STOPPED}interrupted", *files)
        sys.exit(130)
    except Exception:
        log.exception("failed")
        sys.exit(1)
    attempts.say(f"{attempts.DONE} {time.monotonic() - started:.1f} s", *files)


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
