"""The command's end of the local socket."""

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from socket import socket

from pydantic import ValidationError

from edge_worker.errors import ConfigError, NotReachedError, NotRunningError
from edge_worker.host.control.address import ControlFiles
from edge_worker.host.control.messages import Answer, Request, WorkerStatus

_ANSWER_S = 15.0
"""Seconds for the first answer: the agent's loop is never busy for long."""


def call(folder: Path, request: Request, *, timeout_s: float | None, on_news: Callable[[WorkerStatus], None]) -> Answer:
    """Send a command and return its last answer; `on_news` is called with each status before that.

    If the last answer is not final the agent has ended, which is what `stop` waits for.

    Raises:
        NotRunningError: no agent runs on this state folder.
        NotReachedError: the awaited state was not reached, or not within `timeout_s` seconds (None: no limit).
        ConfigError: this user may not talk to the agent.

    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        connection, token = ControlFiles(folder).connect(_ANSWER_S)
    except PermissionError as error:
        raise ConfigError(f"the edge worker of {folder} belongs to another user; run this as that user") from error
    except OSError as error:
        raise _not_running(folder) from error
    with closing(connection), connection.makefile("rb") as lines:
        try:
            connection.sendall(request.model_copy(update={"token": token}).model_dump_json().encode() + b"\n")
            return _listen(connection, lines, deadline, on_news)
        except TimeoutError as error:
            if timeout_s is None or not request.wait:
                raise NotReachedError("the edge worker does not answer") from error
            raise NotReachedError(f"not reached within {timeout_s:g} s; the request stands") from error
        except (OSError, ValidationError) as error:
            raise _not_running(folder) from error


def _listen(
    connection: socket, lines: BufferedReader, deadline: float | None, on_news: Callable[[WorkerStatus], None]
) -> Answer:
    last: Answer | None = None
    watch: int | None = None
    try:
        while line := lines.readline():
            last = Answer.model_validate_json(line)
            if last.final and not last.reached:
                raise NotReachedError(last.problem or "not reached")
            if last.final:
                return last
            if last.status is not None:
                if watch is None:
                    watch = _watch(last.status.pid)
                on_news(last.status)
            connection.settimeout(_left(deadline))
        if last is None:
            raise ConnectionResetError
        # The connection has ended; once the process has, too, its lock on the state folder is released.
        if watch is not None and not select.select([watch], [], [], _left(deadline))[0]:
            raise TimeoutError
        return last
    finally:
        if watch is not None:
            os.close(watch)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the agent's process ends, where the system has them."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _not_running(folder: Path) -> NotRunningError:
    return NotRunningError(
        f"no edge worker runs on state folder {folder}; start it with edge-worker run, or choose another with "
        "--name or --state-dir"
    )
