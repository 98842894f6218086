"""What administrators do with workers. Every change is written together with its entry of the audit trail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.admin.scopes import CODE, check_queues, unknown
from edge_api.database.pool import Database
from edge_api.errors import OutOfScopeError, RefusedError
from edge_api.fleet.views import matches, worker_view
from edge_api.identity.refusals import Refusals
from edge_protocol.admin import (
    BulkAction,
    BulkRequest,
    BulkResult,
    WorkerFilter,
    WorkerPage,
    WorkerPatch,
    WorkerView,
)
from edge_protocol.worker_state import GONE_STATES
from edge_store.database.statement import Statement
from edge_store.identity import audit
from edge_store.identity.scopes import Scope
from edge_store.workers import requests, worker_views

CHUNK: Final = 1000
"""Rows read at once: a filter by state is applied here, since states depend on the clock."""


def unknown_worker(scope: Scope, name: str, *, exists: bool) -> RefusedError:
    """Return the refusal of a name that no worker of the scope has."""
    exists = exists or not scope.covers_name(name)
    return unknown(scope, "worker_unknown", f"worker {name[:300]}", exists=exists, mend=" See the list of workers.")


@dataclass(frozen=True, slots=True)
class _Change:
    """A wish, and why it may be without effect."""

    action: str
    statement: Callable[[Sequence[str]], Statement[requests.ChangedWorker]]
    detail: dict[str, Any]
    refusal: Callable[[WorkerView], RefusedError | None]
    """Of a worker for which the wish was no news; None: it is as wished for already."""


class FleetAdmin:
    """Reads and changes workers."""

    def __init__(self, database: Database, heartbeat_interval_s: float, refusals: Refusals) -> None:
        self._database = database
        self._refusals = refusals
        self._interval = timedelta(seconds=heartbeat_interval_s)

    def view(self, row: worker_views.WorkerRow) -> WorkerView:
        """Return a row of the store as people see it."""
        return worker_view(row, self._interval)

    async def get(self, caller: Caller, name: str) -> WorkerView:
        """Return one worker.

        Raises:
            RefusedError: there is none (404).

        """
        row = await self._database.first(worker_views.one_worker(name))
        if row is None or not caller.scope.covers_worker(name, row.team):
            raise unknown_worker(caller.scope, name, exists=row is not None)
        return self.view(row)

    async def page(self, caller: Caller, wanted: WorkerFilter, limit: int, cursor: str | None) -> WorkerPage:
        """Return the workers that a filter finds, by name."""
        after = "" if cursor is None else cursors.decode(cursor)
        items: list[WorkerView] = []
        while True:
            statement = worker_views.workers(after, max(CHUNK, limit), team=wanted.team, scope=caller.scope)
            rows = await self._database.rows(statement)
            for row in rows:
                view = self.view(row)
                if matches(view, wanted):
                    if len(items) == limit:
                        return WorkerPage(items=items, next=cursors.encode(items[-1].name))
                    items.append(view)
            if len(rows) < max(CHUNK, limit):
                return WorkerPage(items=items)
            after = rows[-1].name

    async def all(self, caller: Caller, wanted: WorkerFilter | None = None) -> list[WorkerView]:
        """Return all workers that a filter finds."""
        page = await self.page(caller, wanted or WorkerFilter(), 10**9, None)
        return page.items

    async def request_maintenance(self, caller: Caller, name: str, comment: str) -> WorkerView:
        """Wish for maintenance, or change its comment."""
        return await self._one(caller, name, _maintenance(caller, comment))

    async def exit_maintenance(self, caller: Caller, name: str) -> WorkerView:
        """Wish for the end of maintenance."""
        return await self._one(caller, name, _EXIT)

    async def request_shutdown(self, caller: Caller, name: str) -> WorkerView:
        """Wish that a live worker drains and stops."""
        return await self._one(caller, name, _SHUTDOWN)

    async def cancel_shutdown(self, caller: Caller, name: str) -> WorkerView:
        """Take back a shutdown that has not begun."""
        return await self._one(caller, name, _CANCEL)

    async def adjust(self, caller: Caller, name: str, patch: WorkerPatch) -> WorkerView:
        """Change queues and concurrency.

        Raises:
            RefusedError: there is no such worker (404).
            OutOfScopeError: a queue to be added is not the caller's to give (403).

        """
        check_queues(caller.scope, patch.add_queues)
        given = patch.model_dump(exclude_unset=True)

        def statement(names: Sequence[str]) -> Statement[requests.ChangedWorker]:
            return requests.adjust(
                names, patch.add_queues, patch.remove_queues, patch.concurrency, set_concurrency="concurrency" in given
            )

        return await self._one(caller, name, _Change("worker.adjust", statement, given, lambda _: None))

    async def remove(self, caller: Caller, name: str) -> None:
        """Remove a worker that is not there any more.

        Raises:
            RefusedError: it is unknown (404) or still there (409).

        """
        (result,) = await self._apply(caller, [name], _REMOVE)
        if result.refusal is not None:
            raise result.refusal

    async def bulk(self, caller: Caller, request: BulkRequest) -> list[BulkResult]:
        """Do one thing to many workers; each has its own result."""
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
        return [result.told() for result in results]

    async def _one(self, caller: Caller, name: str, change: _Change) -> WorkerView:
        (result,) = await self._apply(caller, [name], change)
        if result.refusal is not None:
            raise result.refusal
        return await self.get(caller, name)

    async def _apply(self, caller: Caller, names: Sequence[str], change: _Change) -> "list[_Result]":
        """Write a wish for workers, with the audit trail, and find out why it was no news for some."""
        async with self._database.transaction(change.action) as transaction:
            within = names
            if not caller.scope.whole:
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

    def told(self) -> BulkResult:
        """Return it as the caller of a bulk action sees it."""
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
    said = (
        "was heard of a moment ago; wait until it counts as lost"
        if worker.state in GONE_STATES
        else f"is {worker.state}; shut it down first"
    )
    return RefusedError(409, "worker_alive", f"Worker {worker.name} {said}, then remove it.")


def _draining(worker: WorkerView) -> RefusedError | None:
    if not worker.shutdown:
        return None
    return RefusedError(409, "worker_terminating", f"Worker {worker.name} stops already; it can't be held back.")


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
