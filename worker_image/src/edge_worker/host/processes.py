"""Process trees: no process of a task outlives its supervisor.

On Linux the kernel helps: a process can ask to be killed when its parent dies, and to become the parent of orphans
below it. On other systems the agent walks the tree.
"""

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

if sys.platform == "win32":
    KILL: Final = signal.SIGTERM
else:
    KILL: Final = signal.SIGKILL
"""On Windows `os.kill` ends a process at once with any signal that is not a console event."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

STRAYS_WAIT_S = 5.0
"""Most seconds that `kill_strays` waits."""


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent, `parent_pid`, dies."""
    _prctl(_PR_SET_PDEATHSIG, KILL)
    if os.getppid() != parent_pid:
        # The parent died before the request: the signal will never come.
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can still be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_strays(keep: Collection[int]) -> None:
    """Kill the children of this process and everything below them, except those in `keep`.

    For a process that adopts orphans. Waits for their end, but not indefinitely: a process in the middle of a system
    call may take long to die.
    """
    deadline = time.monotonic() + STRAYS_WAIT_S
    # Repeated, since a stray's own children become strays when it dies.
    while strays := [child for child in own_children() if child not in keep]:
        for stray in strays:
            kill_tree(stray)
            if sys.platform != "win32":
                with suppress(ChildProcessError):
                    os.waitpid(stray, os.WNOHANG)
        if time.monotonic() >= deadline:
            return
        time.sleep(0.002)


def reap_orphans(keep: Collection[int]) -> None:
    """Reap the ended children of this process that it has adopted, except those in `keep`.

    Adopted ones were started below a runner, so they have another session; who starts a child here waits for it.
    """
    if sys.platform == "win32":
        return
    session = str(os.getsid(0))
    for pid in own_children():
        stat = _stat_fields(pid)
        if pid not in keep and stat is not None and stat[0] == "Z" and stat[3] != session:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def own_children() -> list[int]:
    """Return the children of this process, adopted ones included."""
    try:
        lists = [task.joinpath("children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return _children_by_parent()[os.getpid()]
    return [int(pid) for pid in " ".join(lists).split()]


def descendants(pid: int) -> list[int]:
    """Return all processes below `pid`, parents before children."""
    children = _children_by_parent()
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children[pending.pop()]
        found += below
        pending += below
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and everything below it."""
    kill_below(pid)
    send(pid, KILL)


def kill_below(pid: int) -> None:
    """Kill everything below a process."""
    # Repeated: processes they start meanwhile stay below `pid`, which adopts orphans.
    for _ in range(20):
        below = [child for child in descendants(pid) if _running(child)]
        if not below:
            return
        for child in below:
            send(child, KILL)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; does nothing if the process has ended or belongs to another user."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _running(pid: int) -> bool:
    stat = _stat_fields(pid)
    return stat is not None and stat[0] not in ("Z", "X")


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    if sys.platform != "linux":
        import psutil  # noqa: PLC0415 - Linux does without it, and saves the memory

        for process in psutil.process_iter(["pid", "ppid"]):
            children[process.info["ppid"]].append(process.info["pid"])
        return children
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat_fields(int(folder.name))) is not None:
            children[int(stat[1])].append(int(folder.name))
    return children


def _stat_fields(pid: int) -> list[str] | None:
    """Return state, parent pid and so on: the fields after the process's name, which may contain any character."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, value, 0, 0, 0)
