"""Snakemake without its imports, which take longer than what most tests ask of it: they are made once, then copied.

A process that has imported Snakemake and nothing of visrec reads one request per line from its standard input, forks,
and answers with the exit status: {"arguments", "folder", "environment", "out", "err", "python"} -> an integer. "python"
is what its jobs are started with (`job_server.py`).
"""

import importlib
import json
import os
import sys
import threading
import traceback


def serve() -> None:
    """Answer requests until there are no more."""
    import snakemake.cli

    del sys.path[0]  # this folder
    for plugin in ("snakemake_executor_plugin_slurm", "snakemake.report.html_reporter", "snakemake.scheduling"):
        importlib.import_module(plugin)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os._exit(run(request, snakemake.cli.main))
            finally:  # it did not end well
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict, main) -> int:
    """What `python -m snakemake` does with these arguments, in this process."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    # As Python sets it up for `-m`: the folder, then PYTHONPATH; editable installs and the rest follow.
    sys.path[:0] = [request["folder"], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["snakemake", *request["arguments"]]
    sys.executable = request["python"]
    return ended(lambda: main(request["arguments"]))


def ended(main) -> int:
    """The exit status that Python would leave with after `main`."""
    status = 0
    try:
        main()
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve()
