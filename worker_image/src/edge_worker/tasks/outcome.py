"""How a task ended, put together from what its supervisor wrote and what the agent knows: pure."""

from dataclasses import dataclass

from edge_worker.tasks.launcher import TaskExit
from edge_worker.tasks.spool import Outcome

AGENT_STOPPED = "the edge worker was stopped while the task ran"
DRAIN_TIMEOUT = "stopped by worker shutdown after drain timeout"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome to report."""

    outcome: Outcome
    notice: str | None = None
    """What the task's log should say too, where nothing else says it there."""


def judge(written: Outcome | None, task_exit: TaskExit | None, kill_reason: str | None) -> Verdict:
    """Return the outcome of a task whose supervisor is gone.

    A task that the worker ended counts as failed for that reason, unless its supervisor still brought it to an end of
    its own, which Airflow then knows already.
    """
    if written is not None and (written.outcome == "succeeded" or kill_reason is None):
        return Verdict(written)
    if kill_reason is not None:
        return Verdict(Outcome("failed", written.exit_code if written else None, kill_reason), kill_reason)
    error = _why_gone(task_exit)
    return Verdict(Outcome("failed", error=error), error)


def _why_gone(task_exit: TaskExit | None) -> str:
    if task_exit is None:
        return AGENT_STOPPED
    if task_exit.detail:
        return task_exit.detail
    if task_exit.status is not None and task_exit.status < 0:
        return f"the task's supervisor process was ended by signal {-task_exit.status}"
    return "the task's supervisor process ended without telling how the task ended"
