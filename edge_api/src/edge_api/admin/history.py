"""`/workers/NAME/events` and `/workers/NAME/metrics`: what happened to a worker, and how its host was doing."""

from datetime import timedelta
from typing import Final

from fastapi import APIRouter

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.parameters import LIMIT, Cursor, Limit, Name, WhoCalls
from edge_api.admin.workers import unknown_worker
from edge_api.database.pool import Database
from edge_protocol.admin import WorkerEvent, WorkerEventPage, WorkerMetrics, WorkerSample
from edge_store.identity.scopes import WHOLE
from edge_store.workers import history, worker_views

SHOWN: Final = timedelta(hours=1)
"""Samples are replaced after an hour."""


class HistoryAdmin:
    """Reads events and samples of workers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.router = router = APIRouter(tags=["workers"])
        router.get("/workers/{name}/events")(self.list_events)
        router.get("/workers/{name}/metrics")(self.get_metrics)

    async def list_events(
        self, caller: WhoCalls, name: Name, limit: Limit = LIMIT, cursor: Cursor = None
    ) -> WorkerEventPage:
        """List changes of a worker's state and its entries in the audit trail, the newest first.

        Those of a removed worker are kept, too.
        """
        before = cursors.decode_place(cursor)
        visible, exists = await self._visible(caller, name)
        if exists and not visible:
            raise unknown_worker(caller.scope, name, exists=True)
        rows = await self._database.rows(history.history(name, limit + 1, before, caller.scope))
        if not rows and not exists:
            raise unknown_worker(caller.scope, name, exists=False)
        items = [WorkerEvent.model_validate(row, from_attributes=True) for row in rows[:limit]]
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return WorkerEventPage(
            items=items, next=None if last is None else cursors.encode_place(last.at, last.source, last.id)
        )

    async def get_metrics(self, caller: WhoCalls, name: Name) -> WorkerMetrics:
        """Get load, CPU, memory, disk and slots of a worker over the last hour, one sample a minute."""
        visible, exists = await self._visible(caller, name)
        if not visible:
            raise unknown_worker(caller.scope, name, exists=exists)
        rows = await self._database.rows(history.samples(name, SHOWN))
        return WorkerMetrics(items=[_sample(row) for row in rows])

    async def _visible(self, caller: Caller, name: str) -> tuple[bool, bool]:
        """Return whether the caller can see the worker, and whether it exists."""
        exists = bool(await self._database.rows(worker_views.within([name], WHOLE)))
        visible = exists and bool(await self._database.rows(worker_views.within([name], caller.scope)))
        return visible, exists


def _sample(row: history.SampleRow) -> WorkerSample:
    fields = {field: getattr(row, field) for field in history.SampleRow._fields if field != "slots_free"}
    return WorkerSample(slots_used=max(0, row.slots - row.slots_free), **fields)
