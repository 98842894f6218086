"""Process trees: how nothing that belongs to a task outlives the one who supervises it.

On Linux the kernel helps: a process can ask to be killed when its parent dies, and to become the parent of orphans
below it. Elsewhere the trees are only walked.
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
from typing import Any

from edge_worker.host.signals import KILL

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

STRAYS_WAIT_S = 5.0


def die_with_parent(parent_pid: int) -> None:
    """Have this process killed when `parent_pid`, which has to be its parent, dies."""
    _prctl(_PR_SET_PDEATHSIG, KILL)
    if os.getppid() != parent_pid:
        # It died before the request: nobody will ever send the signal.
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can still be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_strays(keep: Collection[int]) -> None:
    """Kill the children of this process, and all below them, except those in `keep`; used by who adopts orphans.

    Waits for their end, for a bounded time: a process in the middle of a system call may take its time to go.
    """
    deadline = time.monotonic() + STRAYS_WAIT_S
    # Again and again: a stray's own children become strays when it dies.
    while strays := [child for child in own_children() if child not in keep]:
        for stray in strays:
            kill_tree(stray)
            if sys.platform != "win32":
                with suppress(ChildProcessError):
                    os.waitpid(stray, os.WNOHANG)
        if time.monotonic() >= deadline:
            return
        time.sleep(0.002)


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
    """Kill a process and everything below it, at once."""
    kill_below(pid)
    send(pid, KILL)


def kill_below(pid: int) -> None:
    """Kill everything below a process."""
    # Again and again: what they start meanwhile stays below `pid`, which adopts orphans.
    for _ in range(20):
        below = [child for child in descendants(pid) if _running(child)]
        if not below:
            return
        for child in below:
            send(child, KILL)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone, or is another user's, is left alone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _running(pid: int) -> bool:
    stat = _stat_fields(pid)
    return stat is not None and stat[0] not in ("Z", "X")


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    if sys.platform != "linux":
        import psutil  # noqa: PLC0415 - costs memory that Linux can spare

        for process in psutil.process_iter(["pid", "ppid"]):
            children[process.info["ppid"]].append(process.info["pid"])
        return children
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat_fields(int(folder.name))) is not None:
            children[int(stat[1])].append(int(folder.name))
    return children


def _stat_fields(pid: int) -> list[str] | None:
    """Return state, parent and so on of a process: the fields behind its name, which may itself hold anything."""
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
