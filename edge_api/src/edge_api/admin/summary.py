"""`/summary`: the fleet in one line. Cheap enough for a dashboard that many people keep open."""

from datetime import timedelta

from fastapi import APIRouter

from edge_api.admin.parameters import WhoCalls
from edge_api.database.pool import Database
from edge_api.fleet.summary import summary
from edge_protocol.admin import Summary
from edge_protocol.worker_state import MISSED_HEARTBEATS
from edge_store.jobs import job_views
from edge_store.workers import worker_views


class SummaryAdmin:
    """Counts workers, slots and jobs."""

    def __init__(self, database: Database, heartbeat_interval_s: float) -> None:
        self._database = database
        self._window = timedelta(seconds=MISSED_HEARTBEATS * heartbeat_interval_s)
        self.router = APIRouter(tags=["summary"])
        self.router.get("/summary")(self.get_summary)

    async def get_summary(self, caller: WhoCalls) -> Summary:
        """Get workers by state, slots, waiting and running jobs, and queues that no worker serves."""
        groups = await self._database.rows(worker_views.fleet_groups(self._window, caller.scope))
        depths = await self._database.rows(job_views.queue_depths(caller.scope))
        [held] = await self._database.rows(job_views.held_jobs(caller.scope))
        return summary(groups, depths, held)
