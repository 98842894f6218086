"""What tests of the agent see of its processes, and shell text for tasks."""

from pathlib import Path
from typing import Any
from uuid import UUID


async def started(until: Any, api: Any, lease: UUID) -> int:
    """Wait until a task that writes its pid first has done so, and return the pid."""

    def pid() -> int | None:
        first = api.logs.get(lease, b"").split(b"\n")[0]
        return int(first) if first.isdigit() else None

    found: int = await until(pid, f"start of {lease}")
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    lists = [thread.joinpath("children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for child in " ".join(lists).split()]


def wait_for_file(path: Path) -> str:
    """Shell text that ends as soon as a file is there."""
    return f"while [ ! -e {path} ]; do sleep 0.05; done"
