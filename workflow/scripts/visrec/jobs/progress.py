"""Progress of long work: a bar on a terminal, a line now and then elsewhere, and TensorBoard if the config asks for it.

No result depends on it, so code fingerprints leave this file out.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from visrec.errors import FULL, REFUSED, UserError, writing

SECONDS = 30  # between two lines where there is no terminal


class _Lines(tqdm):
    """A bar for logs, each state on a new line; carriage returns would make one line of megabytes."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """Print each new state on a line of its own."""
        printed = {""}

        def show(text: str) -> None:
            if text not in printed:
                print(text, file=file, flush=True)
                printed.add(text)

        return show


def bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A tqdm bar over an iterable, with the options of tqdm."""
    if sys.stderr.isatty():
        return tqdm(iterable, **options)
    return _Lines(iterable, **{"mininterval": SECONDS, "maxinterval": SECONDS, "ascii": True, **options})


def duration(seconds: float) -> str:
    """The time left, rounded to minutes: "a minute", "12 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"


class _NoTensorBoard:
    """Does nothing, where the config does not ask for TensorBoard."""

    def show(self, row: Mapping[str, float]) -> None:
        """Show a row of history.csv."""

    def close(self) -> None:
        """Write the remaining rows."""


class _TensorBoard(_NoTensorBoard):
    def __init__(self, folder: Path, iteration: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "tensorboard: true, but the package is not installed; run `pip install tensorboard`"
            ) from error
        with writing(folder, FULL, REFUSED):
            self._writer = SummaryWriter(str(folder), purge_step=iteration + 1)

    def show(self, row: Mapping[str, float]) -> None:
        with writing(self._writer.log_dir, FULL, REFUSED):
            for name, value in row.items():
                if name != "iteration":
                    self._writer.add_scalar(name, value, int(row["iteration"]))
            self._writer.flush()

    def close(self) -> None:
        with writing(self._writer.log_dir, FULL, REFUSED):
            self._writer.close()


def board(folder: Path | None, iteration: int) -> _NoTensorBoard:
    """An object whose `show` adds rows of history.csv to TensorBoard's logs; without a folder it does nothing.

    Args:
        folder: for the logs, or None.
        iteration: number of iterations done; rows of an earlier run after that are hidden.

    Raises:
        UserError: TensorBoard is not installed.
    """
    return _TensorBoard(folder, iteration) if folder else _NoTensorBoard()
