"""What the agent asks of whatever starts tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from edge_worker.errors import WorkerError


class RunnerBrokenError(WorkerError):
    """Tasks cannot be started on this host."""


@dataclass(frozen=True, slots=True)
class StartOrder:
    """A task to start."""

    lease_id: UUID
    folder: Path
    workload: str
    log_file: Path | None
    server: str | None


@dataclass(frozen=True, slots=True)
class TaskExit:
    """A task's supervisor process is gone. How the task ended is in its outcome file, if it came to that."""

    lease_id: UUID
    status: int | None
    """Exit status; negative: the signal that ended it; None: not known, see `detail`."""
    detail: str | None = None


ExitListener = Callable[[TaskExit], None]
"""Who is told about ends of tasks."""


class Launcher(Protocol):
    """Starts and ends tasks."""

    def listen(self, listener: ExitListener) -> None:
        """Say who is told about ends of tasks; called once, before anything else."""

    async def prepare(self) -> None:
        """Return once tasks can be started.

        Raises:
            RunnerBrokenError: they never will be; the message says why.

        """

    async def supervise(self) -> None:
        """Keep tasks startable until cancelled."""

    async def start(self, order: StartOrder) -> None:
        """Start a task.

        Raises:
            RunnerBrokenError: it cannot be started.

        """

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        """End a task: SIGTERM, and SIGKILL after the grace."""

    def learn(self, modules: set[str]) -> None:
        """Note what a task had to import."""

    async def close(self) -> None:
        """End all tasks and processes, in bounded time."""
