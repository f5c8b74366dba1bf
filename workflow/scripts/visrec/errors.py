"""Exceptions that are meant for the person in front of the screen, and the exit status each leaves a script with."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class UserError(Exception):
    """Something outside the code is wrong: a config key, a file, a device.

    The message is one line that says what, where and what to do. Scripts print it without a traceback and leave with
    `exit_status` (`job.job`).
    """

    exit_status = 1


class StoppedError(UserError):
    """A signal asked a training to stop; it is saved, and running it again goes on from there."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again later


class SupersededError(UserError):
    """Another process has begun the same training since; this one leaves without writing."""

    exit_status = 76


@contextmanager
def writing(path: str | Path, *numbers: set[int]) -> Iterator[None]:
    """Make one line of what keeps a file from being written.

    Args:
        path: the file.
        numbers: what to make one line of, `FULL` and `REFUSED`.

    Raises:
        UserError: instead of an OSError of these numbers.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in set().union(*numbers):
            raise
        if error.errno in FULL:
            raise UserError(f"{path}: the disk is full; make room and run again") from error
        raise UserError(f"{path}: cannot be written ({error.strerror}); mend that and run again") from error
