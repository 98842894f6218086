"""`/workers`: what people do with workers. Every change is written together with its entry in the audit trail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.parameters import LIMIT, Cursor, Limit, Name, WhoCalls
from edge_api.admin.scopes import CODE, check_queues, unknown
from edge_api.database.pool import Database
from edge_api.errors import OutOfScopeError, RefusedError
from edge_api.fleet.views import matches, worker_view
from edge_api.identity.refusals import Refusals
from edge_protocol.admin import (
    BulkAction,
    BulkRequest,
    BulkResponse,
    BulkResult,
    MaintenanceRequest,
    WorkerFilter,
    WorkerPage,
    WorkerPatch,
    WorkerView,
)
from edge_protocol.limits import QueueName
from edge_protocol.worker_state import GONE_STATES, WorkerState
from edge_store.database.statement import Statement
from edge_store.identity import audit
from edge_store.identity.scopes import Scope
from edge_store.workers import requests, worker_views

CHUNK: Final = 1000
"""Rows read at once: a filter by state is applied here, since states depend on the clock."""


def unknown_worker(scope: Scope, name: str, *, exists: bool) -> RefusedError:
    """Return the refusal of a name that no worker of the scope has."""
    exists = exists or not scope.covers_name(name)
    return unknown(scope, "worker_unknown", f"worker {name[:300]}", exists=exists, hint=" See the list of workers.")


@dataclass(frozen=True, slots=True)
class _Change:
    """A request, and why it may have no effect."""

    action: str
    statement: Callable[[Sequence[str]], Statement[requests.ChangedWorker]]
    detail: dict[str, Any]
    refusal: Callable[[WorkerView], RefusedError | None]
    """For a worker that was not changed; None: it already is in the desired state."""


class WorkersAdmin:
    """Reads and changes workers."""

    def __init__(self, database: Database, heartbeat_interval_s: float, refusals: Refusals) -> None:
        self._database = database
        self._refusals = refusals
        self._interval = timedelta(seconds=heartbeat_interval_s)
        self.router = router = APIRouter(tags=["workers"])
        router.get("/workers")(self.list_workers)
        router.post("/workers/bulk")(self.act_on_many)
        router.get("/workers/{name}")(self.get_worker)
        router.patch("/workers/{name}")(self.adjust_worker)
        router.delete("/workers/{name}", status_code=204)(self.remove_worker)
        router.put("/workers/{name}/maintenance")(self.enter_maintenance)
        router.delete("/workers/{name}/maintenance")(self.exit_maintenance)
        router.put("/workers/{name}/shutdown")(self.request_shutdown)
        router.delete("/workers/{name}/shutdown")(self.cancel_shutdown)

    def view(self, row: worker_views.WorkerRow) -> WorkerView:
        """Return a row of the store as people see it."""
        return worker_view(row, self._interval)

    # ---- reading ----

    async def list_workers(
        self,
        caller: WhoCalls,
        state: Annotated[list[WorkerState] | None, Query(description="Any of these states.")] = None,
        queue: Annotated[
            list[QueueName] | None, Query(max_length=256, description="Serves any of these queues.")
        ] = None,
        team: Annotated[str | None, Query(max_length=256)] = None,
        name: Annotated[
            str | None, Query(min_length=1, max_length=512, description="A glob: `*`, `?`, `[abc]`.")
        ] = None,
        limit: Limit = LIMIT,
        cursor: Cursor = None,
    ) -> WorkerPage:
        """List workers by name; all given conditions must hold."""
        return await self.page(caller, WorkerFilter(state=state, queue=queue, team=team, name=name), limit, cursor)

    async def get_worker(self, caller: WhoCalls, name: Name) -> WorkerView:
        """Get one worker."""
        row = await self._database.first(worker_views.one_worker(name))
        if row is None or not caller.scope.covers_worker(name, row.team):
            raise unknown_worker(caller.scope, name, exists=row is not None)
        return self.view(row)

    async def page(self, caller: Caller, conditions: WorkerFilter, limit: int, cursor: str | None) -> WorkerPage:
        """Return the workers that fulfil the conditions, by name."""
        after = "" if cursor is None else cursors.decode(cursor)
        items: list[WorkerView] = []
        while True:
            statement = worker_views.workers(after, max(CHUNK, limit), team=conditions.team, scope=caller.scope)
            rows = await self._database.rows(statement)
            for row in rows:
                view = self.view(row)
                if matches(view, conditions):
                    if len(items) == limit:
                        return WorkerPage(items=items, next=cursors.encode(items[-1].name))
                    items.append(view)
            if len(rows) < max(CHUNK, limit):
                return WorkerPage(items=items)
            after = rows[-1].name

    async def all(self, caller: Caller, conditions: WorkerFilter | None = None) -> list[WorkerView]:
        """Return all workers that fulfil the conditions."""
        page = await self.page(caller, conditions or WorkerFilter(), 10**9, None)
        return page.items

    # ---- requests on one worker ----

    async def adjust_worker(self, caller: WhoCalls, name: Name, body: WorkerPatch) -> WorkerView:
        """Change queues and concurrency, without a restart."""
        check_queues(caller.scope, body.add_queues)
        given = body.model_dump(exclude_unset=True)

        def statement(names: Sequence[str]) -> Statement[requests.ChangedWorker]:
            return requests.adjust(
                names, body.add_queues, body.remove_queues, body.concurrency, set_concurrency="concurrency" in given
            )

        return await self._change_one(caller, name, _Change("worker.adjust", statement, given, lambda _: None))

    async def remove_worker(self, caller: WhoCalls, name: Name) -> Response:
        """Remove a worker that is offline or lost, and revoke its credentials; refused while it is connected."""
        (result,) = await self._apply(caller, [name], _REMOVE)
        if result.refusal is not None:
            raise result.refusal
        return Response(status_code=204)

    async def enter_maintenance(self, caller: WhoCalls, name: Name, body: MaintenanceRequest) -> WorkerView:
        """Enter maintenance, or change its comment. From now on the worker is given no more jobs."""
        return await self._change_one(caller, name, _maintenance(caller, body.comment))

    async def exit_maintenance(self, caller: WhoCalls, name: Name) -> WorkerView:
        """End maintenance; a worker that is not in maintenance stays as it is."""
        return await self._change_one(caller, name, _EXIT)

    async def request_shutdown(self, caller: WhoCalls, name: Name) -> WorkerView:
        """Ask a connected worker to finish its jobs and stop."""
        return await self._change_one(caller, name, _SHUTDOWN)

    async def cancel_shutdown(self, caller: WhoCalls, name: Name) -> WorkerView:
        """Cancel a shutdown that the worker has not begun."""
        return await self._change_one(caller, name, _CANCEL)

    async def _change_one(self, caller: Caller, name: str, change: _Change) -> WorkerView:
        (result,) = await self._apply(caller, [name], change)
        if result.refusal is not None:
            raise result.refusal
        return await self.get_worker(caller, name)

    # ---- requests on many workers ----

    async def act_on_many(self, caller: WhoCalls, body: BulkRequest) -> BulkResponse:
        """Apply one action to many workers; each has its own result, and a failure of one does not stop the others."""
        return BulkResponse(results=await self.bulk(caller, body))

    async def bulk(self, caller: Caller, request: BulkRequest) -> list[BulkResult]:
        """Apply one action to many workers and return the result for each."""
        if request.names is not None:
            names = sorted(set(request.names))
        else:
            names = [worker.name for worker in await self.all(caller, request.filter)]
        results = []
        for start in range(0, len(names), CHUNK):
            results += await self._apply(caller, names[start : start + CHUNK], _bulk_change(caller, request))
        foreign = [result.name for result in results if isinstance(result.refusal, OutOfScopeError)]
        if foreign:
            self._refusals.note(caller.actor, CODE, None, f"bulk {request.action} {' '.join(foreign)}")
        return [result.for_caller() for result in results]

    async def _apply(self, caller: Caller, names: Sequence[str], change: _Change) -> "list[_Result]":
        """Store a request for workers, with its audit entries, and find out why it had no effect on some."""
        async with self._database.transaction(change.action) as transaction:
            within = names
            if not caller.scope.whole_fleet:
                within = [row.name for row in await transaction.rows(worker_views.within(names, caller.scope))]
            done = {row.name for row in await transaction.rows(change.statement(within))}
            if done:
                entries = [
                    audit.NewAudit(caller.actor, change.action, f"worker/{name}", change.detail)
                    for name in sorted(done)
                ]
                await transaction.run(audit.add(entries))
        rest = [name for name in names if name not in done]
        found: dict[str, WorkerView] = {}
        if rest:
            rows = await self._database.rows(worker_views.workers("", len(rest), names=rest))
            found = {row.name: self.view(row) for row in rows}
        return [
            _Result(name, None if name in done else _why_not(caller.scope, name, found.get(name), change))
            for name in names
        ]


@dataclass(frozen=True, slots=True)
class _Result:
    name: str
    refusal: RefusedError | None

    def for_caller(self) -> BulkResult:
        """Return the result as the caller of a bulk action sees it."""
        if self.refusal is None:
            return BulkResult(name=self.name, ok=True, code="done", detail="Done.")
        return BulkResult(name=self.name, ok=False, code=self.refusal.code, detail=self.refusal.detail)


def _why_not(scope: Scope, name: str, worker: WorkerView | None, change: _Change) -> RefusedError | None:
    if worker is None or not scope.covers_worker(name, worker.team):
        return unknown_worker(scope, name, exists=worker is not None)
    return change.refusal(worker)


def _maintenance(caller: Caller, comment: str) -> _Change:
    def statement(names: Sequence[str]) -> Statement[requests.ChangedWorker]:
        return requests.enter_maintenance(names, comment, caller.name)

    return _Change("worker.maintenance", statement, {"comment": comment}, lambda _: None)


def _not_alive(worker: WorkerView) -> RefusedError | None:
    if worker.shutdown:
        return None
    return RefusedError(
        409, "worker_not_alive", f"Worker {worker.name} is {worker.state}: there is nothing to shut down."
    )


def _alive(worker: WorkerView) -> RefusedError | None:
    if worker.jobs_kept_until is not None:
        kept = worker.jobs_kept_until.isoformat(timespec="seconds")
        return RefusedError(
            409,
            "worker_out_of_contact",
            f"Worker {worker.name} is out of contact, and its tasks may still run until {kept}. Wait until then, or "
            "mark its tasks as failed in Airflow; then remove it.",
        )
    hint = (
        "was heard of a moment ago; wait until it counts as lost"
        if worker.state in GONE_STATES
        else f"is {worker.state}; shut it down first"
    )
    return RefusedError(409, "worker_alive", f"Worker {worker.name} {hint}, then remove it.")


def _draining(worker: WorkerView) -> RefusedError | None:
    if not worker.shutdown:
        return None
    return RefusedError(409, "worker_terminating", f"Worker {worker.name} stops already; it can't be cancelled.")


_EXIT: Final = _Change("worker.exit_maintenance", requests.exit_maintenance, {}, lambda _: None)
_SHUTDOWN: Final = _Change("worker.shutdown", requests.shut_down, {}, _not_alive)
_CANCEL: Final = _Change("worker.cancel_shutdown", requests.cancel_shutdown, {}, _draining)
_REMOVE: Final = _Change("worker.remove", requests.remove, {}, _alive)

_BULK: Final = {
    BulkAction.EXIT_MAINTENANCE: _EXIT,
    BulkAction.SHUTDOWN: _SHUTDOWN,
    BulkAction.CANCEL_SHUTDOWN: _CANCEL,
    BulkAction.REMOVE: _REMOVE,
}


def _bulk_change(caller: Caller, request: BulkRequest) -> _Change:
    if request.action is BulkAction.MAINTENANCE:
        return _maintenance(caller, request.comment or "")
    return _BULK[request.action]
