"""One task: forked from the template, run by Airflow's supervisor, its outcome written, whatever happens.

This module is imported without Airflow (by runners that only start processes); Airflow is imported where it is called.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_worker.host import processes
from edge_worker.logs.disk import append_line
from edge_worker.tasks.outcome import outcome_of_error, outcome_of_exit_code, write_outcome
from edge_worker.tasks.spool import LeaseFolder

_AIRFLOWS_TASK = "airflow.sdk.execution_time.task_runner"


class UnknownWorkloadError(ValueError):
    """A workload that the Airflow of this worker cannot read."""


@dataclass(frozen=True)
class Order:
    """A task to run."""

    folder: LeaseFolder
    workload: str
    log_file: Path | None
    server: str | None
    """URL of the Execution API; None: the one in Airflow's configuration."""

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


def fork_supervisor(message: dict[str, Any], close_in_child: Callable[[], None], run: Callable[[Order], None]) -> int:
    """Fork a supervisor that runs a task; return its pid."""
    runner = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        close_in_child()
        lead_process_tree(runner)
        run(Order.from_message(message))
        status = 0
    except BaseException:  # noqa: BLE001 - whatever was raised must not get back into the runner's loop
        traceback.print_exc()
    finally:
        os._exit(status)


def lead_process_tree(parent_pid: int) -> None:
    """Make this process the head of its task's tree: with its own session, killed when `parent_pid` dies."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    processes.die_with_parent(parent_pid)
    processes.adopt_orphans()
    supervisor = os.getpid()
    os.register_at_fork(after_in_child=lambda: _after_fork_below(supervisor))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _after_fork_below(supervisor: int) -> None:
    # Only the task's own process: processes that the task forks would be killed as soon as the forking thread ends.
    if os.getppid() == supervisor:
        processes.die_with_parent(supervisor)
        return
    # Airflow's handler does nothing in a process that the task has forked, so SIGTERM would not end it: a pool of
    # `multiprocessing` waits forever then for the workers that it has terminated.
    if getattr(signal.getsignal(signal.SIGTERM), "__module__", None) == _AIRFLOWS_TASK:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_and_record(order: Order, execute: Callable[[Order], int]) -> None:
    """Run a task to its end and write its outcome, also when `execute` raises."""
    # Airflow renders log paths below its log folder; this one is the lease's own.
    os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] = str(order.folder.logs)
    try:
        outcome = outcome_of_exit_code(int(execute(order)))
    except BaseException as error:  # noqa: BLE001 - the last frame of the process: any error goes into the report
        traceback.print_exc(file=sys.stderr)
        outcome = outcome_of_error(error)
        if order.log_file is not None and outcome.error is not None:
            with suppress(OSError):
                append_line(order.log_file, "error", outcome.error)
    write_outcome(order.folder.root, outcome)


def execute(order: Order) -> int:
    """Run a workload under Airflow's supervisor and return the exit code of its process.

    Raises:
        UnknownWorkloadError: this Airflow cannot read the workload.
        Exception: any error of the supervisor, for example an Execution API that refuses the task.

    """
    validator, run_workload = airflow_calls()
    try:
        workload = validator.validate_json(order.workload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        # Without its cause, which shows the workload and in it the task's token.
        raise UnknownWorkloadError(f"{where}: {first['msg']}; does the worker run the same Airflow version?") from None
    return int(run_workload(workload, server=order.server))


@cache
def airflow_calls() -> tuple[TypeAdapter[Any], Callable[..., int]]:
    """Return the validator of workloads and the function that runs one.

    Importing them and building the validator takes longer than using them: the template does it once.
    """
    from airflow.executors import workloads  # noqa: PLC0415 - see the module's docstring
    from airflow.executors.base_executor import BaseExecutor  # noqa: PLC0415

    return TypeAdapter(workloads.All), BaseExecutor.run_workload
