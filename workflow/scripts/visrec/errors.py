"""Exceptions that are meant for the person in front of the screen, and the exit status each leaves a script with."""


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
