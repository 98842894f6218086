"""Jobs and logs of v1 workers."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from edge_api.database.batcher import Batcher
from edge_api.database.pool import Database
from edge_api.errors import RefusedError
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.settings import ApiSettings
from edge_api.v1.models import EdgeJobFetched, WorkerQueuesBody
from edge_api.v1.state import TaskState
from edge_api.v1.workers import V1Workers
from edge_protocol.limits import CONCURRENCY_MAX
from edge_store import v1
from edge_store.jobs import claims, leases, logs
from edge_store.workers import agents

CALLBACK: Final = "ExecuteCallback"
"""How the v1 wire names callbacks, which belong to no task."""

TaskName = v1.TaskName


class V1Jobs:
    """Gives jobs to v1 workers, and stores their reports and logs."""

    def __init__(
        self,
        database: Database,
        settings: ApiSettings,
        metrics: Metrics,
        refusals: Refusals,
        workers: V1Workers,
        accepts: Batcher[leases.HeldLease, bool],
        reports: Batcher[leases.JobReport, bool],
        append_logs: Callable[[Sequence[logs.LogChunk]], Awaitable[object]],
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._refusals = refusals
        self._workers = workers
        self._accepts = accepts
        self._reports = reports
        self._append_logs = append_logs
        # Such a worker starts the task before it reports that, and its fork takes seconds.
        self._accept_timeout = timedelta(seconds=settings.v1_accept_timeout_s)

    async def fetch(self, name: str, body: WorkerQueuesBody) -> EdgeJobFetched | None:
        """Give a job that fits, or None. The claim is the same as for v2, so a cordoned worker gets none.

        Raises:
            RefusedError: the worker is unknown (404) or not of v1 (403).

        """
        row = await self._workers.find(name)
        free = min(body.free_concurrency, CONCURRENCY_MAX)
        if free < 1 or row.session_id is None:
            return None
        queues = await self._queues(row, body.queues)
        if not queues:
            return None
        demands = [claims.Demand(queue, row.team, free, row.concurrency, 1) for queue in queues]
        async with self._database.transaction("v1_fetch") as transaction:
            found = await transaction.rows(claims.candidates(demands))
            if not found:
                return None
            first = min(found, key=lambda each: each.order)
            pick = claims.Pick(first.id, name, row.session_id, uuid4())
            claimed = await transaction.first(claims.claim([pick], self._accept_timeout))
        if claimed is None:
            return None
        self._metrics.jobs_dispatched.inc()
        return await self._fetched(claimed)

    async def _queues(self, row: agents.WorkerSession, asked: Sequence[str] | None) -> list[str]:
        if row.any_queue:
            waiting = await self._database.rows(v1.waiting_queues())
            served = {each.queue for each in waiting if each.team == row.team}
        else:
            served = set(row.queues) | set(row.queues_added)
        served -= set(row.queues_removed)
        return sorted(served if asked is None else served & set(asked))

    async def _fetched(self, row: claims.ClaimedJob) -> EdgeJobFetched:
        name = await self._name(row.id)
        return EdgeJobFetched(
            **name, command=json.loads(row.workload), concurrency_slots=row.slots, task_instance_id=row.id
        )

    async def _name(self, job_id: UUID) -> dict[str, Any]:
        (row,) = await self._database.rows(v1.task_key(job_id))
        if row.dag_id is None:
            return {
                "dag_id": CALLBACK,
                "task_id": str(job_id),
                "run_id": f"{CALLBACK}-{job_id}",
                "map_index": -1,
                "try_number": 0,
            }
        return row._asdict()

    async def report(self, name: v1.TaskName, state: TaskState, address: str) -> None:
        """Store a state report; as on edge3's own server, one that does not apply changes nothing."""
        held = await self._held(name, address)
        if held is None:
            return
        if state is TaskState.RUNNING:
            await self._accepts.submit(held)
        elif state in (TaskState.SUCCESS, TaskState.FAILED):
            outcome: Any = "succeeded" if state is TaskState.SUCCESS else "failed"
            await self._reports.submit(leases.JobReport(held.lease_id, held.worker, outcome, None, None))

    async def _held(self, name: v1.TaskName, address: str) -> leases.HeldLease | None:
        """Return the lease that a report is about if a v1 worker has or had it."""
        row = await self._database.first(v1.job_of_task(_without_callback(name)))
        if row is None or row.lease_id is None or row.worker_name is None:
            return None
        if row.protocol == 2:
            what = f"v1 report for a job of worker {row.worker_name}"
            self._refusals.note(address, "foreign_lease", None, what)
            return None
        return leases.HeldLease(row.lease_id, row.worker_name)

    async def log_path(self, name: v1.TaskName) -> str:
        """Return where a task's log belongs.

        Raises:
            RefusedError: the job is not known (404).

        """
        row = await self._database.first(v1.job_of_task(_without_callback(name)))
        if row is None or row.log_path is None:
            raise RefusedError(404, "job_unknown", "There is no job of this task.")
        return row.log_path

    async def push_log(self, name: v1.TaskName, text: str, address: str) -> None:
        """Append to the log of the task's last lease, if that is a v1 worker's; else nothing is written."""
        row = await self._database.first(v1.job_of_task(_without_callback(name)))
        lease = None if row is None else await self._database.first(v1.last_lease(row.id))
        if lease is None or not text:
            return
        if lease.protocol == 2:
            what = f"v1 log for a job of worker {lease.worker_name}"
            self._refusals.note(address, "foreign_lease", None, what)
            return
        data = text.encode("utf-8", "replace")
        await self._append_logs([logs.LogChunk(lease.id, lease.worker_name, logs.AT_END, 0, data)])


def _without_callback(name: v1.TaskName) -> v1.TaskName:
    """Return the name with the id of a callback, which is its task id on this wire."""
    if name.id is not None or name.dag_id != CALLBACK or name.run_id != f"{CALLBACK}-{name.task_id}":
        return name
    try:
        return v1.TaskName(UUID(name.task_id), "", "", "", 0, -1)
    except ValueError:
        return name
