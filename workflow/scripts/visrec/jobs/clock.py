"""Clocks: a job whose inputs are newer than what it writes works for nothing.

Snakemake deletes outputs that are older than an input. The dates of files are those of the file system's clock, which
on a network may be another one than this machine's, so a fresh file tells what time it is there.
"""

import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from visrec.errors import FULL, REFUSED, UserError, writing

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds: clocks that differ by less are waited for


def check(inputs: Iterable[str | Path], folder: Path) -> None:
    """Make sure that a file written from now on in a folder is newer than all inputs.

    Args:
        inputs: files; those that are not there are passed over.
        folder: of the outputs; made if it is not there.

    Raises:
        UserError: an input is dated more than `PATIENCE` seconds later than a file that is written now.
    """
    dates = {str(path): _date(Path(path)) for path in inputs}
    if not dates:
        return
    newest = max(dates, key=lambda path: dates[path])
    ahead = dates[newest] - _now(folder)
    if 0 < ahead <= PATIENCE:
        log.info("%s is dated %.1f s later than now in %s: waiting", newest, ahead, folder)
        time.sleep(ahead)
        ahead = dates[newest] - _now(folder)
    if ahead > 0:
        raise UserError(
            f"{newest}: is from the future, dated {_clock(dates[newest])}, while a file written now in {folder} is "
            f"dated {_clock(dates[newest] - ahead)}: what this job makes would be deleted as out of date; set the "
            "clocks right, or the file's date with `touch`, and run again"
        )


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _date(path: Path) -> float:
    """When a file was changed, or the link to it, whichever is later, as for Snakemake; 0 if it is not there."""
    try:
        return max(path.stat().st_mtime, path.lstat().st_mtime)
    except OSError:  # the job says so itself
        return 0.0


def _now(folder: Path) -> float:
    """The date of a file that is written now."""
    with writing(folder, FULL, REFUSED):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".clock.", dir=folder) as file:
            file.write(b"now")
            file.flush()
            return Path(file.name).stat().st_mtime
