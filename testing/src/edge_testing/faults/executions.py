"""What tasks noted from inside: one file per execution, written by `dags/campaign.py`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Execution:
    """One execution of one section of a task; a deferred task has two sections."""

    task: str
    """`run~task~map`."""
    try_number: int
    section: str
    pid: int
    worker: str
    began_ns: int
    last_ns: int
    last_event: str
    """`start` and `tick`: it still runs, or was killed; `deferred` and `end`: it has ended."""
    lines: int
    """Lines that it has printed, at least."""

    @property
    def try_key(self) -> str:
        """`run~task~map~try`."""
        return f"{self.task}~{self.try_number}"


def read_executions(folder: Path) -> list[Execution]:
    """Return all executions, in the order in which they began."""
    found = (_read(path) for path in folder.iterdir())
    return sorted((one for one in found if one is not None), key=lambda one: one.began_ns)


def ended_tasks(executions: Iterable[Execution]) -> set[str]:
    """Return the tasks that have come to their end."""
    return {one.task for one in executions if one.last_event == "end"}


def _read(path: Path) -> Execution | None:
    notes = [json.loads(line) for line in path.read_text().splitlines()]
    if not notes:
        return None
    run, task, map_index, try_number, section, pid, _ = path.name.split("~")
    return Execution(
        task=f"{run}~{task}~{map_index}",
        try_number=int(try_number),
        section=section,
        pid=int(pid),
        worker=notes[0]["worker"],
        began_ns=notes[0]["at"],
        last_ns=notes[-1]["at"],
        last_event=notes[-1]["event"],
        lines=notes[-1]["line"],
    )
