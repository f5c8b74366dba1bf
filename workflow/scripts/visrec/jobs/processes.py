"""Processes that call a function, for what threads of Python cannot do at once, as they share one lock.

Python's own pools of processes run the main script again, which here is a job, and wait for ever for a process that was
killed while it answered. These have a pipe each: whoever dies, the other side sees its end.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from visrec.errors import UserError


class _Process:
    """A process that calls a function, for one caller at a time."""

    def __init__(self, function: Callable[..., Any]):
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import answer; answer()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        )
        pickle.dump(function, self._process.stdin)

    def call(self, *arguments: Any) -> Any:
        """What the function returns.

        Raises:
            OSError, EOFError, pickle.UnpicklingError: the process is dead.
        """
        pickle.dump(arguments, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """Wait for its end."""
        with suppress(BrokenPipeError), self._process:  # which closes the pipes, whatever is left in them, and waits
            self._process.kill()


@contextmanager
def processes(function: Callable[..., Any], number: int, ended: str) -> Iterator[Callable[..., Future]]:
    """What submits arguments to one of some processes that call a function, and end with the context.

    Args:
        function: of a module, with arguments and results that can be pickled; it raises nothing.
        number: how many.
        ended: the error message for a process that was killed.

    Raises:
        UserError: by a future's result, if its process is dead.
    """
    workers = [_Process(function) for _ in range(number)]
    free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def call(*arguments: Any) -> Any:
        worker = free.get()
        try:
            return worker.call(*arguments)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise UserError(ended) from error
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(number)
    try:
        yield lambda *arguments: pool.submit(call, *arguments)
    finally:
        for worker in workers:
            worker.kill()  # what was begun is not waited for
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.close()


def answer() -> None:
    """Answer requests on standard input until there are no more: what each process runs."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # they reach all processes of a job: the one that asks ends the others
        signal.signal(stop, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        function = pickle.load(requests)
        while True:
            pickle.dump(function(*pickle.load(requests)), answers)
            answers.flush()
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # whoever asked is gone
        os._exit(0)
