"""Imports the modules of a program once and forks a process per request: `python server.py SOCKET_FD MODULE...`.

Each process is forked twice, and the test process is a subreaper meanwhile: so it becomes the parent, which alone can
wait for the exit code.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
from pathlib import Path
from typing import Any

MAX_REQUEST = 1 << 20
READY = b"1"
PID_WIDTH = 20
"""Both processes write to one pipe."""


def main() -> None:
    """Serve requests; in a forked process, run the program that was asked for, as the interpreter would."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    # A collection in a child would copy all pages.
    gc.collect()
    gc.freeze()
    request = serve(channel)
    if request is not None:
        run(request["command"])


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return the request in the forked process, and None when no test process is left."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MAX_REQUEST, 3)
        if not message:
            return None
        request: dict[str, Any] = json.loads(message)
        pid, ready = fork_twice()
        if pid == 0:
            become(request, descriptors)
            channel.close()
            os.write(ready, READY)
            os.close(ready)
            return request
        begun = os.read(ready, 1) == READY
        os.close(ready)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(pid if begun else 0).encode())


def fork_twice() -> tuple[int, int]:
    """Return a grandchild's pid, whose parent has ended, and a pipe that it writes to; in it return 0 and the pipe."""
    reading, writing = os.pipe()
    between = os.fork()
    if between:
        os.close(writing)
        pid = int(os.read(reading, PID_WIDTH))
        os.waitpid(between, 0)
        return pid, reading
    own = os.getpid()
    pid = os.fork()
    if pid:
        os.write(writing, f"{pid:{PID_WIDTH}d}".encode())
        os._exit(0)
    os.close(reading)
    while os.getppid() == own:
        time.sleep(0.0005)
    return 0, writing


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Do what `subprocess.Popen` does between fork and exec."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    if request["start_new_session"]:
        os.setsid()
    if request["prepare"]:
        module, _, name = request["prepare"].partition(":")
        getattr(importlib.import_module(module), name)()


def run(command: list[str]) -> None:
    """Run `-m MODULE ...` or `SCRIPT ...` as the interpreter does."""
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
