"""Jobs and queues for people: lists, statistics, and why a job is not starting."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from edge_api.errors import RefusedError
from edge_api.services.admin import cursors
from edge_api.services.admin.fleet import FleetAdmin
from edge_api.services.database import Database
from edge_api.services.explain import explain
from edge_api.services.fleet_views import job_view, queue_view, queue_views
from edge_protocol.admin import Explanation, JobPage, JobView, QueueList, QueueView
from edge_store import job_views


class JobsAdmin:
    """Reads jobs and queues."""

    def __init__(self, database: Database, fleet: FleetAdmin) -> None:
        self._database = database
        self._fleet = fleet

    async def page(
        self,
        state: str | None,
        queue: str | None,
        worker: str | None,
        dag_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> JobPage:
        """Return jobs, the newest first."""
        before = cursors.decode_id(cursor)
        statement = job_views.views(limit + 1, before, state, queue, worker, dag_id)
        items = [job_view(row) for row in await self._database.rows(statement, "jobs")]
        more = len(items) > limit
        items = items[:limit]
        return JobPage(items=items, next=cursors.encode(str(items[-1].id)) if more else None)

    async def get(self, job_id: UUID) -> JobView:
        """Return one job.

        Raises:
            RefusedError: there is none (404).

        """
        rows = await self._database.rows(job_views.view(job_id), "job")
        if not rows:
            raise RefusedError(
                404, "job_unknown", f"There is no job {job_id}. Finished jobs are kept for a while only."
            )
        return job_view(rows[0])

    async def explain(self, job_id: UUID) -> Explanation:
        """Return why a job is where it is; errors as of `get`."""
        job = await self.get(job_id)
        return explain(job, await self._fleet.all(), datetime.now(UTC))

    async def queues(self) -> QueueList:
        """Return all queues that have a job waiting or a worker."""
        return QueueList(items=queue_views(await self._depths(), await self._fleet.all()))

    async def queue(self, name: str) -> QueueView:
        """Return one queue; one that nobody knows is empty."""
        depth, oldest_s = (await self._depths()).get(name, (0, 0.0))
        return queue_view(name, depth, oldest_s, await self._fleet.all())

    async def _depths(self) -> Mapping[str, tuple[int, float]]:
        rows = await self._database.rows(job_views.queue_depths(), "queue_depths")
        return {row.queue: (row.depth, max(0.0, float(row.oldest_s))) for row in rows}
