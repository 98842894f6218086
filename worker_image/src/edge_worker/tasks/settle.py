"""How a task ended, written down where its supervisor did not come to do so."""

import logging

from edge_worker.logs.disk import append_line
from edge_worker.tasks.launcher import TaskExit
from edge_worker.tasks.leases import Lease
from edge_worker.tasks.outcome import Verdict, judge
from edge_worker.tasks.spool import LeaseFolder, Outcome

log = logging.getLogger(__name__)


def settle(folder: LeaseFolder, lease: Lease, task_exit: TaskExit) -> tuple[Outcome, set[str]]:
    """Settle a task that this agent has seen end; return its outcome and what it imported."""
    return _write_down(folder, lease.job.log_path, judge(folder.read_outcome(), task_exit, lease.kill_reason))


def settle_left_over(folder: LeaseFolder, log_path: str | None) -> Outcome:
    """Settle a task of a former agent, which is gone with it."""
    outcome, _ = _write_down(folder, log_path, judge(folder.read_outcome(), None, None))
    return outcome


def _write_down(folder: LeaseFolder, log_path: str | None, verdict: Verdict) -> tuple[Outcome, set[str]]:
    log_file = folder.log_file(log_path)
    try:
        if verdict.notice is not None:
            if log_file is not None:
                append_line(log_file, "error", verdict.notice)
            folder.write_outcome(verdict.outcome)
        return verdict.outcome, folder.read_modules()
    except OSError as error:
        # The report still goes out; only after a crash of the agent, too, would its reason be another one.
        log.warning("the outcome of a task could not be written to %s: %s", folder.root, error.strerror)
        return verdict.outcome, set()
