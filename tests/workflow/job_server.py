"""Jobs without their imports, which take longer than what most jobs of a tiny run do: made once, then copied.

As a program it is what a job is started with in the place of Python: it sends the script, its folder, its environment
and its streams to the server, and leaves with the exit status. It needs no site packages, so it starts at once.

The server has imported what jobs import of others, and nothing of visrec: each copy finds its own checkout's.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path


def ask(path: str, arguments: list[str]) -> int:
    """Run `python *arguments` in a copy of the server at a socket."""
    if not arguments[0].endswith(".py"):  # `-m snakemake`, say
        os.execv(sys.executable, [sys.executable, *arguments])
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b"."], [0, 1, 2])
        server.sendall(json.dumps(request).encode() + b"\n")
        answers = server.makefile()
        job = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(job, number))
        status = int(answers.readline())
    if status < 0:
        os.kill(os.getpid(), -status)
    return status


def serve(path: str) -> None:
    """Answer until standard input ends. Each job is a copy of this process, and another copy waits for its end."""
    import importlib
    import logging
    import select
    import threading

    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    print("listening", flush=True)  # who asks now waits for the imports
    for name in (
        "h5py", "jinja2", "matplotlib.pyplot", "pandas", "PIL.Image", "safetensors.torch", "scipy.stats", "seaborn",
        "sklearn.linear_model", "sklearn.manifold", "snakemake.script", "threadpoolctl", "torch", "torchvision", "tqdm",
        "yaml",
    ):  # fmt: skip
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    assert not logging.root.handlers
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            look_after(client)
        client.close()


def look_after(client: socket.socket) -> None:
    """Start one job and tell its process, then its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(client, 1, 3)
    request = json.loads(client.makefile().readline())
    job = os.fork()
    if job == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        try:
            os._exit(run(**request))
        finally:  # it did not end well
            traceback.print_exc()
            os._exit(1)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        client.sendall(f"{job}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        client.sendall(f"{status}\n".encode())
    os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """What `python script.py` does, in this process."""
    from fork_server import ended  # this folder is on the path no more afterwards

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    script = Path(arguments[0])
    # As Python sets it up: the script's folder, then PYTHONPATH; editable installs and the rest follow.
    sys.path[:1] = [str(script.parent), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = arguments
    return ended(lambda: execute(script))


def execute(script: Path) -> None:
    """What Snakemake has put before the script, then the script, with the threads that it would have at its start."""
    import threadpoolctl
    import torch

    text = script.read_text()
    end = "######## snakemake preamble end #########"
    assert end in text
    before, after = text.split(end)
    module = {"__name__": "__main__", "__file__": str(script)}
    exec(compile(before, script, "exec"), module)
    torch.set_num_threads(module["snakemake"].threads)
    threadpoolctl.threadpool_limits(module["snakemake"].threads)
    exec(compile("\n" * before.count("\n") + after, script, "exec"), module)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
