"""User-facing errors and the exit status of each."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}  # the disk, or the quota on it
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}

# Characters that break lines of tables and logs, or turn the order of text around, and halves of surrogate pairs.
CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def has_control(text: str) -> bool:
    """Whether a text may not be an id, a class or a value of the config: see `CONTROL`."""
    return CONTROL.search(text) is not None


def printable(text: object) -> str:
    """A text, such as a file's name, for a log or a page: what cannot be printed, such as newlines, is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )


class UserError(Exception):
    """Something outside the code is wrong: a config key, a file, a device.

    The message is one line: what, where, what to do. Scripts print it without a traceback and exit with `exit_status`
    (`visrec.jobs.job`).

    Args:
        messages: one, or one for each of several things that are wrong, each a line. Names and values in them may hold
            anything: what cannot be printed is escaped here.
    """

    exit_status = 1

    def __init__(self, *messages: str):
        super().__init__("\n".join(map(printable, messages)))


class StoppedError(UserError):
    """A training was stopped by a signal after it was saved; run again, it resumes from there."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again later


class SupersededError(UserError):
    """Another process has started the same training since; this one exits without writing."""

    exit_status = 76


def cannot_write(path: str | Path, error: OSError, size_bytes: int | None = None) -> UserError:
    """The error to raise where a file cannot be written.

    Args:
        path: the file.
        error: why.
        size_bytes: size of the whole file, if it is known.
    """
    if error.errno in FULL:
        needed = f" ({size_bytes:,} bytes are needed)" if size_bytes else ""
        return UserError(f"{path}: the disk is full{needed}; make room and run again")
    return UserError(f"{path}: cannot be written ({error.strerror}); fix it and run again")


@contextmanager
def writing(path: str | Path, *numbers: set[int]) -> Iterator[None]:
    """Turn an OSError while a file is written into an error of one line.

    Args:
        path: the file.
        numbers: errno of the errors to turn, `FULL` and `REFUSED`; others pass.

    Raises:
        UserError: instead of an OSError of these numbers.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in set().union(*numbers):
            raise
        raise cannot_write(path, error) from error
