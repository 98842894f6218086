"""The runner's side of the channel to the agent, and its loop: start task supervisors, report how they exit, end them.

Messages are JSON objects, one per line, over a socket pair; workloads pass here, never on a command line. The loop has
no threads and does nothing else, since every task is a fork of this process.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_worker.host import processes

Spawn = Callable[[dict[str, Any], Callable[[], None]], int]
"""Start a supervisor for an order and return its pid. A forked child calls the second argument first, to close what
belongs to the runner."""

_ORPHANED_GRACE_S = 5.0
"""Seconds for tasks to end after the agent has died."""
_LAST_WORDS_S = 3.0
"""Seconds for a supervisor, once its task is killed, to report to Airflow and finish the log."""


def connect() -> tuple["Channel", int]:
    """Return the channel to the agent and the descriptor of the lock, both given on the command line."""
    parser = argparse.ArgumentParser(prog="edge-worker-runner")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True, help="stays open in every task process, and in no other")
    arguments = parser.parse_args()
    os.set_inheritable(arguments.lock_fd, False)
    processes.adopt_orphans()
    return Channel(arguments.control_fd), arguments.lock_fd


class Channel:
    """The runner's end of the socket pair."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.set_inheritable(False)
        self._buffer = bytearray()

    def send(self, **message: Any) -> None:
        """Send a message; that the agent has died is noticed when reading."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for bytes and return the complete messages, maybe none; None: the agent has died."""
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return None
        if not piece:
            return None
        self._buffer += piece
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        return [json.loads(line) for line in lines]

    def receive_one(self) -> dict[str, Any] | None:
        """Wait for the first message; None: the agent has died."""
        while (messages := self.receive()) is not None:
            if messages:
                return messages[0]
        return None

    def close(self) -> None:
        """Close this process's end."""
        self.socket.close()


class RunnerLoop:
    """Supervisors of running tasks, by pid."""

    def __init__(self, channel: Channel, spawn: Spawn) -> None:
        self._channel = channel
        self._spawn = spawn
        self._leases: dict[int, str] = {}
        self._kill_at: dict[int, float] = {}
        self._task_killed: set[int] = set()
        self._left_behind: set[int] = set()
        """Background processes of tasks that ended by themselves: they may run until the worker stops."""
        self._retiring = False
        self._agent_gone = False
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wakeup_end = socket.socketpair()
        for end in (self._wakeup, self._wakeup_end):
            end.setblocking(False)

    def run(self) -> None:
        """Serve until the agent dies, or until it retires this runner and the last task has ended."""
        self._selector.register(self._channel.socket, selectors.EVENT_READ, self._on_messages)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._on_wakeup)
        # A signal only has to wake the loop; the agent decides what SIGTERM and SIGINT mean.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._wakeup_end.fileno(), warn_on_full_buffer=False)
        while self._leases or not (self._retiring or self._agent_gone):
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._kill_overdue()
        if self._agent_gone:
            processes.kill_below(os.getpid())

    def _timeout(self) -> float | None:
        return max(0.0, min(self._kill_at.values()) - time.monotonic()) if self._kill_at else None

    def _on_messages(self) -> None:
        messages = self._channel.receive()
        if messages is None:
            self._selector.unregister(self._channel.socket)
            self._agent_gone = True
            for pid in self._leases:
                self._terminate(pid, _ORPHANED_GRACE_S)
            return
        for message in messages:
            self._on_message(message)

    def _on_message(self, message: dict[str, Any]) -> None:
        if message["op"] == "run":
            self._start(message)
        elif message["op"] == "kill":
            for pid, lease in self._leases.items():
                if lease == message["lease"]:
                    self._terminate(pid, float(message["grace_s"]))
        elif message["op"] == "retire":
            self._retiring = True

    def _start(self, order: dict[str, Any]) -> None:
        try:
            pid = self._spawn(order, self._close_in_child)
        except OSError as error:
            self._channel.send(
                event="exit", lease=order["lease"], status=None, detail=f"cannot start: {error.strerror}"
            )
            return
        self._leases[pid] = order["lease"]

    def _close_in_child(self) -> None:
        """Close, in a forked child, what belongs to the runner."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._wakeup.close()
        self._wakeup_end.close()
        self._channel.close()

    def _on_wakeup(self) -> None:
        with suppress(BlockingIOError):
            while self._wakeup.recv(4096):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._left_behind.discard(pid)
            if (lease := self._leases.pop(pid, None)) is not None:
                self._on_exit(pid, lease, os.waitstatus_to_exitcode(status))

    def _on_exit(self, pid: int, lease: str, status: int) -> None:
        ended_by_us = self._kill_at.pop(pid, None) is not None
        self._task_killed.discard(pid)
        if ended_by_us or status < 0:
            # No process of a task that was ended survives its supervisor.
            processes.kill_strays(self._leases.keys() | self._left_behind)
        else:
            self._left_behind |= set(processes.own_children()) - self._leases.keys()
        self._channel.send(event="exit", lease=lease, status=status, detail=None)

    def _terminate(self, pid: int, grace_s: float) -> None:
        if pid in self._task_killed:
            return
        processes.send(pid, signal.SIGTERM)
        self._kill_at[pid] = min(self._kill_at.get(pid, float("inf")), time.monotonic() + grace_s)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid in [pid for pid, moment in self._kill_at.items() if moment <= now]:
            if pid in self._task_killed:
                del self._kill_at[pid]
                processes.kill_tree(pid)
            else:
                self._task_killed.add(pid)
                self._kill_at[pid] = now + _LAST_WORDS_S
                processes.kill_below(pid)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: Python writes the signal to the wake-up socket."""
