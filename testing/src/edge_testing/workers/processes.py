"""Processes of tasks, and shell commands for tasks."""

from pathlib import Path
from uuid import UUID

from edge_testing.edge_api.fake import FakeEdgeApi
from edge_testing.waiting import until


async def started(api: FakeEdgeApi, lease: UUID) -> int:
    """Wait until a task that writes its pid first has done so, and return the pid."""

    def pid() -> int | None:
        first = api.logs.get(lease, b"").split(b"\n")[0]
        return int(first) if first.isdigit() else None

    return await until(pid, f"start of {lease}")


def alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    lists = [thread.joinpath("children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for child in " ".join(lists).split()]


def wait_for_file(path: Path) -> str:
    """Return a shell command that ends as soon as a file exists."""
    return f"while [ ! -e {path} ]; do sleep 0.05; done"
