"""How a task ended. Nothing about that is decided elsewhere.

The supervisor process of a task (`edge_worker.runner.task`) writes `outcome.json` durably before it exits. The agent
sees the exit and concludes: a supervisor that was killed has written nothing, and a task that this worker ended failed
for that reason. What the agent concludes is durable before it is reported, and stands in the task's log.
"""

import logging
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

from edge_worker.host.files import read_json, write_json
from edge_worker.logs.disk import append_line

log = logging.getLogger(__name__)

AGENT_STOPPED = "the edge worker was stopped while the task ran"
DRAIN_TIMEOUT = "stopped by worker shutdown after drain timeout"

Result = Literal["succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a task, as it is reported."""

    outcome: Result
    exit_code: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TaskExit:
    """The end of a task's supervisor process, as the agent sees it."""

    lease_id: UUID
    status: int | None
    """Exit status; negative: the signal that ended it; None: unknown, see `detail`."""
    detail: str | None = None
    started: bool = True
    """Whether there was a supervisor process at all."""
    killed: bool = False
    """The runner has ended the task of its own accord, for the reason in `detail`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome to report."""

    outcome: Outcome
    notice: str | None = None
    """A line for the task's log, if the supervisor has not written the reason there."""


def outcome_of_exit_code(exit_code: int) -> Outcome:
    """Return the outcome of a task whose own process has ended; negative: the signal that ended it."""
    if exit_code == 0:
        return Outcome("succeeded", 0)
    if exit_code < 0:
        return Outcome("failed", exit_code, f"the task's process was ended by {_signal_name(-exit_code)}")
    return Outcome("failed", exit_code, f"the task's process ended with exit code {exit_code}")


def outcome_of_error(error: BaseException) -> Outcome:
    """Return the outcome of a task that its supervisor could not run."""
    text = " ".join(str(error).split())
    shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Outcome("failed", error=f"the task could not be run: {shown}")


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write an outcome durably into a lease's folder.

    Raises:
        OSError: the folder is missing, full or read-only.

    """
    write_json(folder / "outcome.json", asdict(outcome), durable=True)


def read_outcome(folder: Path) -> Outcome | None:
    """Return the outcome in a lease's folder, or None where there is none or the file is damaged.

    Raises:
        OSError: the file exists and cannot be read.

    """
    content = read_json(folder / "outcome.json")
    if not isinstance(content, dict) or content.get("outcome") not in ("succeeded", "failed"):
        return None
    return Outcome(content["outcome"], content.get("exit_code"), content.get("error"))


def conclude(folder: Path, log_file: Path | None, task_exit: TaskExit | None, kill_reason: str | None) -> Outcome:
    """Return the outcome of a task whose supervisor has ended; where the agent decided it, write it and log it.

    `task_exit`: None for a task of a former agent.
    """
    try:
        written = read_outcome(folder)
    except OSError as error:
        written = Outcome("failed", error=f"the file that says how the task ended cannot be read: {error.strerror}")
    verdict = judge(written, task_exit, kill_reason)
    if verdict.notice is not None:
        try:
            if log_file is not None:
                append_line(log_file, "error", verdict.notice)
            write_outcome(folder, verdict.outcome)
        except OSError as error:
            # The report is sent all the same. Only after a crash of the agent would it have another reason.
            log.warning("the outcome of a task could not be written to %s: %s", folder, error.strerror)
    return verdict.outcome


def judge(written: Outcome | None, task_exit: TaskExit | None, kill_reason: str | None) -> Verdict:
    """Return the outcome of a task whose supervisor has ended: pure.

    A task that this worker ended counts as failed for that reason. If it succeeded all the same, that counts: Airflow
    knows it already.
    """
    if written is not None and (written.outcome == "succeeded" or kill_reason is None):
        return Verdict(written)
    if kill_reason is not None:
        return Verdict(Outcome("failed", written.exit_code if written else None, kill_reason), kill_reason)
    if task_exit is None:
        error = AGENT_STOPPED
    elif task_exit.detail:
        error = task_exit.detail
    elif task_exit.status is not None and task_exit.status < 0:
        error = f"the task's supervisor process was ended by {_signal_name(-task_exit.status)}"
    else:
        error = "the task's supervisor process ended without writing how the task ended"
    return Verdict(Outcome("failed", error=error), error)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have no name.
        return f"signal {number}"
