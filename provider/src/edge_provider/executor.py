"""The executor: queues jobs in the scheduler's own transaction and reports to the scheduler how they end.

It talks to no worker. All of its state is in `edge.job`, so a scheduler that dies loses nothing, and jobs go on while
no scheduler runs.
"""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from airflow import __version__ as airflow_version
from airflow.configuration import conf
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteCallback, ExecuteTask
from airflow.utils.session import create_session
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from edge_protocol import JobState
from edge_protocol.limits import QUEUE_NAME_MAX
from edge_provider import away, database, log_reader
from edge_provider.rollback import on_rollback
from edge_provider.workloads import callback_job, failure_text, key_of, task_job
from edge_store import outages
from edge_store.database.statement import rows, run
from edge_store.errors import StoreError
from edge_store.jobs import scheduling
from edge_store.schema import platform

EVENT_BATCH = 1000
"""Events taken in one statement: bounds memory and the length of one transaction."""

RECONCILE_S = 60.0
"""Seconds between checks for keys that are counted as running but whose job has another owner or is gone."""


class EdgeExecutor(BaseExecutor):  # type: ignore[misc]
    """Runs tasks and callbacks on edge workers."""

    supports_callbacks = True
    supports_multi_team = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._job_ids: dict[Any, UUID] = {}
        self._reconciled_at = time.monotonic()
        self._away_period_s = away.period_s()
        self._kept_at = float("-inf")

    @property
    def owner(self) -> str:
        """The owner of this executor's jobs: the ID of the scheduler's job, and the team if there is one."""
        return f"{self.job_id}:{self.team_name}" if self.team_name else f"{self.job_id}"

    def start(self) -> None:
        """Check the database, and publish Airflow's version, with which workers' versions are compared.

        Raises:
            SystemExit: The database or a setting can't be used. The message says why and how to fix it.

        """
        if len(self._callback_queue()) > QUEUE_NAME_MAX:
            raise SystemExit(
                f"EdgeExecutor can't start: [edge] callback_queue is too long. Give a name of at most {QUEUE_NAME_MAX} "
                "characters, or leave it empty."
            )
        try:
            with create_session(scoped=False) as session:
                database.check(session)
                run(session, platform.put(platform.AIRFLOW_VERSION, airflow_version))
        except StoreError as error:
            # Airflow would print a long traceback, in which the message is easily missed.
            raise SystemExit(f"EdgeExecutor can't start: {error}") from error
        self.log.info("EdgeExecutor is ready; jobs are owned by %s", self.owner)

    def queue_workload(self, workload: Any, session: Session) -> None:
        """Write the job in the scheduler's transaction: it exists if, and only if, the scheduler commits."""
        if isinstance(workload, ExecuteTask):
            new = task_job(workload, owner=self.owner, team=self.team_name, default_queue=_default_queue())
        elif isinstance(workload, ExecuteCallback):
            new = callback_job(workload, owner=self.owner, team=self.team_name, queue=self._callback_queue())
        else:
            super().queue_workload(workload, session)  # raises, and names the supported kinds
            return
        run(session, scheduling.enqueue(new))
        self._job_ids[workload.key] = new.id
        if workload.key not in self.running:
            self.running.add(workload.key)
            on_rollback(session, lambda: self.running.discard(workload.key))

    def _callback_queue(self) -> str:
        """Return the queue of callbacks, of which Airflow does not say where they are to run."""
        return self.conf.get("edge", "callback_queue", fallback="") or _default_queue()

    def sync(self) -> None:
        """Report the ends of jobs to the scheduler. Without events this costs two looks into empty indexes."""
        try:
            while self._take_events() == EVENT_BATCH:
                pass
            self._keep_away_jobs()
            if time.monotonic() - self._reconciled_at >= RECONCILE_S:
                self._reconcile()
        except OperationalError as error:
            # Nothing is lost: events stay in the table until they are taken.
            self.log.warning("The database did not answer, trying again at the next heartbeat: %s", error.orig)

    def _take_events(self) -> int:
        with create_session(scoped=False) as session:
            changes = rows(session, scheduling.take_events(self.owner, EVENT_BATCH))
            # Before the commit: if that fails the same events come again, and a repeat does no harm.
            for change in changes:
                self._report(change)
        return len(changes)

    def _report(self, change: scheduling.JobChange) -> None:
        key = key_of(change)
        if change.state == JobState.SUCCEEDED:
            self.success(key)
        elif change.state in (JobState.FAILED, JobState.LOST):
            self.fail(key, info=failure_text(change))
        elif change.state == JobState.RUNNING:
            self.running_state(key, info=change.worker_name)

    def _keep_away_jobs(self) -> None:
        """Keep the jobs of workers that are out of contact alive in Airflow, and make the tokens that are wanted."""
        with create_session(scoped=False) as session:
            if time.monotonic() - self._kept_at >= self._away_period_s:
                self._kept_at = time.monotonic()
                jobs = rows(session, outages.away(self.owner, timedelta(seconds=self._away_period_s)))
            else:
                jobs = rows(session, outages.want_token(self.owner))
            if jobs:
                away.keep(session, jobs, self.jwt_generator)

    def _reconcile(self) -> None:
        """Stop counting keys whose job was deleted, or was adopted by a scheduler that took this one for dead."""
        self._reconciled_at = time.monotonic()
        self._job_ids = {key: job_id for key, job_id in self._job_ids.items() if key in self.running}
        if not self._job_ids:
            return
        with create_session(scoped=False) as session:
            found = rows(session, scheduling.still_owned(self.owner, list(self._job_ids.values())))
            owned = {str(job.id) for job in found}
        for key, job_id in list(self._job_ids.items()):
            if str(job_id) not in owned:
                self.log.warning("The job of %s is gone or has another owner: not counted as running any more", key)
                self.running.discard(key)
                del self._job_ids[key]

    def try_adopt_task_instances(self, tis: Sequence[Any]) -> Sequence[Any]:
        """Take over jobs of a scheduler that died. Jobs that have ended since are reported by the next sync."""
        with create_session(scoped=False) as session:
            jobs = rows(session, scheduling.adopt(self.owner, [ti.id for ti in tis]))
            adopted = {str(job.id) for job in jobs}
            for job in jobs:
                key = key_of(job)
                self.running.add(key)
                self._job_ids[key] = UUID(str(job.id))
        return [ti for ti in tis if str(ti.id) not in adopted]

    def revoke_task(self, *, ti: Any) -> None:
        """Revoke a job; its worker stops it."""
        self.running.discard(ti.key)
        try:
            with create_session(scoped=False) as session:
                rows(session, scheduling.revoke(ti.id))
        except SQLAlchemyError:
            # Airflow asks that this never raises. If it queues the task again, that voids the old lease as well.
            self.log.exception("The job of %s could not be revoked", ti.key)

    def get_task_log(self, ti: Any, try_number: int) -> tuple[list[str], list[str]]:
        """Return the log of a running task, unless the `edge://` reader has returned it already.

        There is always a message: without one Airflow would call a log server on the worker's host, which can't be
        reached.
        """
        if log_reader.is_active():
            return [f"Try {try_number} runs on an edge worker"], []
        return log_reader.read_job(ti.id)

    def end(self) -> None:
        """Do nothing: jobs go on without a scheduler; the next one adopts them or takes their events."""

    def terminate(self) -> None:
        """Do nothing: jobs go on, as after `end`."""


def _default_queue() -> str:
    return str(conf.get_mandatory_value("operators", "default_queue"))
