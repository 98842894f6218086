"""The runner's side of the channel to the agent, and its loop: start task supervisors, report how they exit, end them.

Messages are JSON objects, one per line, over a socket pair; workloads pass here, never on a command line. The loop has
no threads and does nothing else, since every task is a fork of this process.

The agent ends tasks that were out of contact with the control plane for too long. In case it is stopped and can't, the
loop does so, a little later.
"""

import argparse
import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edge_worker.host import processes
from edge_worker.tasks.contact import LOOK_S, RUNNER_LATER_S, Contact, Tolerance, boot_clock

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

    def __init__(self, channel: Channel, spawn: Spawn, clock: Callable[[], float] = boot_clock) -> None:
        self._channel = channel
        self._spawn = spawn
        self._clock = clock
        self._contact = Contact()
        self._tolerances: dict[int, Tolerance] = {}
        """Of the tasks that survive without contact, and only for so long."""
        self._out_of_contact: dict[int, str] = {}
        """Tasks that were ended here because of that, and the reason for their report."""
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
            self._end_out_of_contact()
            self._kill_overdue()
        if self._agent_gone:
            processes.kill_below(os.getpid())

    def _timeout(self) -> float | None:
        moments = [*self._kill_at.values(), *map(self._deadline, self._tolerances.values())]
        # Not one long wait, since the time for which the host is suspended does not count there.
        return max(0.0, min(LOOK_S, min(moments) - self._clock())) if moments else None

    def _deadline(self, tolerance: Tolerance) -> float:
        return self._contact.deadline(tolerance) + RUNNER_LATER_S

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
        elif message["op"] == "contact":
            self._contact.renew(float(message["at"]), self._clock())
        elif message["op"] == "retire":
            self._retiring = True

    def _start(self, order: dict[str, Any]) -> None:
        tolerance = Tolerance(**order["tolerance"]) if order["tolerance"] is not None else None
        if tolerance is not None and self._contact.deadline(tolerance) <= self._clock():
            # This process was stopped, and has the order only now.
            reason = self._reason(tolerance)
            self._channel.send(event="exit", lease=order["lease"], status=None, detail=reason, killed=True)
            return
        try:
            pid = self._spawn(order, self._close_in_child)
        except OSError as error:
            reason = f"cannot start: {error.strerror}"
            self._channel.send(event="exit", lease=order["lease"], status=None, detail=reason, killed=False)
            return
        self._leases[pid] = order["lease"]
        if tolerance is not None:
            self._tolerances[pid] = tolerance
        self._channel.send(event="started", lease=order["lease"], pid=pid)

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
        self._tolerances.pop(pid, None)
        if ended_by_us or status < 0:
            # No process of a task that was ended survives its supervisor.
            processes.kill_strays(self._leases.keys() | self._left_behind)
        else:
            self._left_behind |= set(processes.own_children()) - self._leases.keys()
        reason = self._out_of_contact.pop(pid, None)
        self._channel.send(event="exit", lease=lease, status=status, detail=reason, killed=reason is not None)

    def _terminate(self, pid: int, grace_s: float) -> None:
        if pid in self._task_killed:
            return
        processes.send(pid, signal.SIGTERM)
        self._kill_at[pid] = min(self._kill_at.get(pid, float("inf")), self._clock() + grace_s)
        # It ends anyway.
        self._tolerances.pop(pid, None)

    def _end_out_of_contact(self) -> None:
        if not self._overdue():
            return
        # After a stop of this process: what has arrived meanwhile may renew the contact.
        while self._is_readable():
            self._on_messages()
        for pid, tolerance in self._overdue():
            self._out_of_contact[pid] = self._reason(tolerance)
            self._terminate(pid, self._contact.grace_s(tolerance, self._clock(), RUNNER_LATER_S))

    def _overdue(self) -> list[tuple[int, Tolerance]]:
        now = self._clock()
        return [(pid, tolerance) for pid, tolerance in self._tolerances.items() if self._deadline(tolerance) <= now]

    def _reason(self, tolerance: Tolerance) -> str:
        return self._contact.reason(tolerance, self._clock())

    def _is_readable(self) -> bool:
        return not self._agent_gone and any(key.fileobj is self._channel.socket for key, _ in self._selector.select(0))

    def _kill_overdue(self) -> None:
        now = self._clock()
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
