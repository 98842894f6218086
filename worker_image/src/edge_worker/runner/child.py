"""One task's supervisor process: calls the Task SDK and writes down how it ended, whatever happens."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_worker.host import processes
from edge_worker.logs.disk import append_line
from edge_worker.tasks.spool import LeaseFolder, Outcome


@dataclass(frozen=True)
class Order:
    """A task to run."""

    folder: LeaseFolder
    workload: str
    log_file: Path | None
    server: str | None
    """URL of the Execution API; None: what Airflow's configuration says."""

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> "Order":
        """Read the agent's message."""
        log_file = message["log_file"]
        return cls(
            LeaseFolder(Path(message["folder"])),
            message["workload"],
            Path(log_file) if log_file else None,
            message["server"],
        )


def settle_in(parent_pid: int) -> None:
    """Make this process the head of its task's tree: own session, and no process of it outlives its parent."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    processes.die_with_parent(parent_pid)
    processes.adopt_orphans()
    supervisor = os.getpid()
    os.register_at_fork(after_in_child=lambda: _bind_to(supervisor))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _bind_to(supervisor: int) -> None:
    # Only the task's own process: what a task forks itself would be killed as soon as the forking thread ends.
    if os.getppid() == supervisor:
        processes.die_with_parent(supervisor)


def run_and_record(order: Order, execute: Callable[[Order], int]) -> None:
    """Run a task to its end and write its outcome; never raises."""
    # Airflow renders log paths below its log folder; this one is the lease's own.
    os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] = str(order.folder.logs)
    try:
        exit_code = execute(order)
        outcome = Outcome("succeeded" if exit_code == 0 else "failed", int(exit_code), _exit_text(exit_code))
    except BaseException as error:  # noqa: BLE001 - the last frame of the process: whatever it is, the report has it
        traceback.print_exc(file=sys.stderr)
        outcome = Outcome("failed", error=f"the task could not be run: {one_line(error)}")
        if order.log_file is not None and outcome.error is not None:
            with suppress(OSError):
                append_line(order.log_file, "error", outcome.error)
    order.folder.write_outcome(outcome)


def _exit_text(exit_code: int) -> str | None:
    if exit_code == 0:
        return None
    if exit_code < 0:
        return f"the task's process was ended by signal {-int(exit_code)}"
    return f"the task's process ended with exit code {int(exit_code)}"


def one_line(error: BaseException) -> str:
    """Return an exception's kind and message on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
