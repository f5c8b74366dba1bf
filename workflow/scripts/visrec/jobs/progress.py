"""Progress of long work: a bar on a terminal, elsewhere a line now and then, and TensorBoard for those who ask for it.

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
    """The bar as lines under each other, for logs: a carriage return there makes one line of megabytes."""

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
    """A tqdm bar over an iterable, with tqdm's options."""
    if sys.stderr.isatty():
        return tqdm(iterable, **options)
    return _Lines(iterable, **{"mininterval": SECONDS, "maxinterval": SECONDS, "ascii": True, **options})


def duration(seconds: float) -> str:
    """Time left, in words: "a minute", "12 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min" if minutes else "a minute"


class _NoBoard:
    """Stands where nobody asked for TensorBoard."""

    def show(self, row: Mapping[str, float]) -> None:
        """Show a row of history.csv."""

    def close(self) -> None:
        """Write what is left."""


class _Board(_NoBoard):
    def __init__(self, folder: Path, iteration: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "tensorboard: true was asked for, but the package is not installed; run `pip install tensorboard`"
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


def board(folder: Path | None, iteration: int) -> _NoBoard:
    """What shows rows of history.csv in TensorBoard; nothing if there is no folder.

    Args:
        folder: for the logs.
        iteration: how many are done; what an earlier start showed after that is hidden.

    Raises:
        UserError: TensorBoard is not installed.
    """
    return _Board(folder, iteration) if folder else _NoBoard()
