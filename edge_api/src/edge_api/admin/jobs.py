"""Jobs and queues for people: lists, statistics, and why a job is not starting."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.scopes import check_queues, describe, unknown
from edge_api.admin.workers import FleetAdmin
from edge_api.database.pool import Database
from edge_api.fleet.explain import explain
from edge_api.fleet.views import job_view, queue_view, queue_views
from edge_protocol.admin import Explanation, JobPage, JobView, QueueList, QueueView
from edge_store.jobs import job_views


class JobsAdmin:
    """Reads jobs and queues."""

    def __init__(self, database: Database, fleet: FleetAdmin) -> None:
        self._database = database
        self._fleet = fleet

    async def page(
        self,
        caller: Caller,
        state: str | None,
        queue: str | None,
        worker: str | None,
        dag_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> JobPage:
        """Return jobs, the newest first."""
        before = cursors.decode_id(cursor)
        statement = job_views.jobs(limit + 1, before, state, queue, worker, dag_id, caller.scope)
        items = [job_view(row) for row in await self._database.rows(statement)]
        more = len(items) > limit
        items = items[:limit]
        return JobPage(items=items, next=cursors.encode(str(items[-1].id)) if more else None)

    async def get(self, caller: Caller, job_id: UUID) -> JobView:
        """Return one job.

        Raises:
            RefusedError: there is none (404).

        """
        row = await self._database.first(job_views.one_job(job_id, caller.scope))
        if row is None:
            exists = await self._database.first(job_views.one_job(job_id)) is not None
            mend = " Finished jobs are kept for a while only."
            raise unknown(caller.scope, "job_unknown", f"job {job_id}", exists=exists, mend=mend)
        return job_view(row)

    async def explain(self, caller: Caller, job_id: UUID) -> Explanation:
        """Return why a job is where it is, as far as the caller may know; errors as of `get`."""
        job = await self.get(caller, job_id)
        explanation = explain(job, await self._fleet.all(caller), datetime.now(UTC))
        if not caller.scope.whole:
            explanation.message += f" Seen are {describe(caller.scope)} alone: others may take the job."
        return explanation

    async def queues(self, caller: Caller) -> QueueList:
        """Return all queues that have a job waiting or a worker."""
        views = queue_views(await self._depths(caller), await self._fleet.all(caller))
        return QueueList(items=[view for view in views if caller.scope.covers_queues([view.queue])])

    async def queue(self, caller: Caller, name: str) -> QueueView:
        """Return one queue; one that nobody knows is empty.

        Raises:
            OutOfScopeError: the caller may not know of it (403).

        """
        check_queues(caller.scope, [name])
        depth, oldest_s = (await self._depths(caller)).get(name, (0, 0.0))
        return queue_view(name, depth, oldest_s, await self._fleet.all(caller))

    async def _depths(self, caller: Caller) -> Mapping[str, tuple[int, float]]:
        rows = await self._database.rows(job_views.queue_depths(caller.scope))
        return {row.queue: (row.depth, max(0.0, float(row.oldest_s))) for row in rows}
