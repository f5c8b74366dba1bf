"""The one exception that is meant for the person in front of the screen."""


class UserError(Exception):
    """Something outside the code is wrong: a config key, a file, a device.

    The message is one line that says what, where and what to do. Scripts print it without a traceback and leave with
    exit status 1 (`job.job`).
    """
