"""A pytest plugin: processes of this project's programs come from a warm interpreter (`edge_testing.warm.server`).

`subprocess.Popen` is the seam, since asyncio and the demo's processes use it too. What a fork can't do like a fresh
interpreter (other users, more descriptors, variables that the interpreter reads at its start) starts as always.
"""

import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTERPRETER = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_")
"""Variables that begin so take effect when an interpreter starts."""


@dataclass(frozen=True)
class Program:
    """What is imported for a program, and the variables that its modules read while they are imported."""

    modules: tuple[str, ...]
    read: tuple[str, ...] = INTERPRETER
    not_read: tuple[str, ...] = ()

    def read_at_start(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that can't differ from those of the warm interpreter."""
        return {
            name: value
            for name, value in environ.items()
            if name.startswith(self.read) and not name.startswith(self.not_read)
        }


OPERATOR = Program(("edge_operator.app", "edge_operator.install"))
AIRFLOW = Program(
    ("airflow.__main__", "airflow.cli.cli_parser", "edge_provider.commands.admin_client", "airflow.cli.simple_table"),
    read=(*INTERPRETER, "AIRFLOW"),
    not_read=("AIRFLOW__EDGE__",),
)
AIRFLOW_PROGRAM = str(Path(sys.executable).with_name("airflow"))
PROGRAMS: dict[tuple[str, ...], Program] = {
    ("-m", "edge_api"): Program(("edge_api.cli.main", "edge_api.server", "uvloop")),
    ("-m", "edge_operator.cli"): OPERATOR,
    (AIRFLOW_PROGRAM, "edge"): AIRFLOW,
}
"""First arguments of the interpreter, and what starts by them."""
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)
_start_cold: Callable[..., None] = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_signature = inspect.signature(_start_cold)


class WarmInterpreter:
    """A server process for a program, started at the program's first start."""

    def __init__(self, program: Program, environ: Mapping[str, str]) -> None:
        self.read_at_start = program.read_at_start(environ)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = str(Path(__file__).with_name("server.py"))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, server, str(theirs.fileno()), *program.modules],
                env=dict(environ),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def start(self, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Start a process with these descriptors as 0, 1 and 2, and return its pid."""
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            pid = int(self._channel.recv(20))
        finally:
            _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not pid:
            raise OSError(f"{request['command']} could not be prepared")
        return pid

    def close(self) -> None:
        """End the server; processes that it started go on."""
        self._channel.close()
        self._process.wait(10)


_interpreters: dict[Program, WarmInterpreter] = {}
_lock = threading.Lock()


def pytest_configure() -> None:
    """Start processes warm from now on."""
    subprocess.Popen._execute_child = _start  # type: ignore[attr-defined]


def pytest_unconfigure() -> None:
    """End the interpreters."""
    subprocess.Popen._execute_child = _start_cold  # type: ignore[attr-defined]
    while _interpreters:
        _interpreters.popitem()[1].close()


def _start(popen: Any, *arguments: Any) -> None:
    given = _signature.bind(popen, *arguments).arguments
    words, prepare = _words(given), _name(given["preexec_fn"])
    program = PROGRAMS.get(words[:2]) or PROGRAMS.get(words[:1])
    if program is None or prepare is None:
        _start_cold(popen, *arguments)
        return
    environ = dict(os.environ if given["env"] is None else given["env"])
    with _lock:
        if program not in _interpreters:
            _interpreters[program] = WarmInterpreter(program, environ)
        interpreter = _interpreters[program]
        if program.read_at_start(environ) != interpreter.read_at_start:
            _start_cold(popen, *arguments)
            return
        request = {
            "command": words,
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "environ": environ,
            "start_new_session": bool(given["start_new_session"]),
            "prepare": prepare,
        }
        ends = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        popen.pid = interpreter.start(request, [number if end == -1 else end for number, end in enumerate(ends)])
    popen._child_created = True
    pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    popen._close_pipe_fds(*(given[name] for name in pipes))


def _words(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments of the interpreter; none if the process needs more than a warm interpreter can do."""
    command = given["args"]
    plain = not given["pass_fds"] and given["close_fds"] and not given["shell"] and given["process_group"] == -1
    same_user = given["uid"] is None and given["gid"] is None and given["gids"] is None and given["umask"] < 0
    if isinstance(command, (str, bytes, os.PathLike)) or not plain or not same_user or given["executable"] is not None:
        return ()
    words = tuple(os.fsdecode(part) for part in command)
    return words[1:] if words[0] == sys.executable else words


def _name(function: Callable[[], object] | None) -> str | None:
    """Return where the server finds a function; empty for no function, None if it can't find it."""
    if function is None:
        return ""
    module, name = function.__module__, getattr(function, "__name__", "")
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is function else None
