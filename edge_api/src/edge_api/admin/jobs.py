"""`/jobs` and `/queues`: lists, statistics, and why a job is not starting. All calls only read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.parameters import LIMIT, Cursor, Limit, WhoCalls
from edge_api.admin.scopes import check_queues, describe, unknown
from edge_api.admin.workers import WorkersAdmin
from edge_api.database.pool import Database
from edge_api.fleet.explain import explain
from edge_api.fleet.views import TRAFFIC_WINDOW, QueueLoad, job_view, queue_loads, queue_view, queue_views
from edge_protocol.admin import Explanation, JobPage, JobView, QueueList, QueueView
from edge_protocol.job_state import JobState
from edge_protocol.limits import QUEUE_NAME_MAX, WORKER_NAME_MAX, QueueName
from edge_store.jobs import job_views

Key = Annotated[str | None, Query(max_length=250)]
Number = Annotated[int | None, Query(ge=-(2**31), lt=2**31)]


class JobsAdmin:
    """Reads jobs and queues."""

    def __init__(self, database: Database, workers: WorkersAdmin) -> None:
        self._database = database
        self._workers = workers
        self.router = router = APIRouter()
        router.get("/queues", tags=["queues"])(self.list_queues)
        router.get("/queues/{queue:path}", tags=["queues"])(self.get_queue)
        router.get("/jobs", tags=["jobs"])(self.list_jobs)
        router.get("/jobs/{job_id}", tags=["jobs"])(self.get_job)
        router.get("/jobs/{job_id}/explain", tags=["jobs"])(self.explain_job)

    async def list_queues(self, caller: WhoCalls) -> QueueList:
        """List all queues that have a waiting job or a worker."""
        views = queue_views(await self._loads(caller), await self._workers.all(caller))
        return QueueList(items=[view for view in views if caller.scope.covers_queues([view.queue])])

    async def get_queue(
        self,
        caller: WhoCalls,
        queue: Annotated[str, Path(min_length=1, max_length=QUEUE_NAME_MAX, examples=["press"])],
    ) -> QueueView:
        """Get backlog and room of a queue; an unknown queue is empty."""
        check_queues(caller.scope, [queue])
        load = (await self._loads(caller)).get(queue, QueueLoad())
        return queue_view(queue, load, await self._workers.all(caller))

    async def list_jobs(
        self,
        caller: WhoCalls,
        state: Annotated[list[JobState] | None, Query(description="Any of these states.")] = None,
        queue: QueueName | None = None,
        worker: Annotated[str | None, Query(max_length=WORKER_NAME_MAX)] = None,
        dag_id: Key = None,
        run_id: Key = None,
        task_id: Key = None,
        map_index: Number = None,
        try_number: Number = None,
        limit: Limit = LIMIT,
        cursor: Cursor = None,
    ) -> JobPage:
        """List jobs, the newest first; all given conditions must hold. Finished jobs are kept for a while."""
        before = cursors.decode_id(cursor)
        conditions = job_views.JobFilter(
            states=state,
            queue=queue,
            worker_name=worker,
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=map_index,
            try_number=try_number,
        )
        statement = job_views.jobs(limit + 1, before, conditions, caller.scope)
        items = [job_view(row) for row in await self._database.rows(statement)]
        more = len(items) > limit
        items = items[:limit]
        return JobPage(items=items, next=cursors.encode(str(items[-1].id)) if more else None)

    async def get_job(self, caller: WhoCalls, job_id: UUID) -> JobView:
        """Get one job."""
        row = await self._database.first(job_views.one_job(job_id, caller.scope))
        if row is None:
            exists = await self._database.first(job_views.one_job(job_id)) is not None
            hint = " Finished jobs are kept only for a while."
            raise unknown(caller.scope, "job_unknown", f"job {job_id}", exists=exists, hint=hint)
        return job_view(row)

    async def explain_job(self, caller: WhoCalls, job_id: UUID) -> Explanation:
        """Answer "why is my job not starting?"."""
        job = await self.get_job(caller, job_id)
        explanation = explain(job, await self._workers.all(caller), datetime.now(UTC))
        if not caller.scope.whole_fleet:
            explanation.message += f" This credential sees only {describe(caller.scope)}: others may take the job."
        return explanation

    async def _loads(self, caller: Caller) -> Mapping[str, QueueLoad]:
        depths = await self._database.rows(job_views.queue_depths(caller.scope))
        traffic = await self._database.rows(job_views.queue_traffic(TRAFFIC_WINDOW, caller.scope))
        return queue_loads(depths, traffic)
