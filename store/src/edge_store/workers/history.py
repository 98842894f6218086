"""Statements on what happened to a worker, and how its host was doing. All only read.

Events are written by the statements that make the change (`edge_store.workers.agents`), samples by those of heartbeats.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import Text, bindparam, func, literal, null, select, tuple_, union_all
from sqlalchemy.types import Interval

from edge_store.database.statement import Statement
from edge_store.identity.scopes import WHOLE, Scope, of_audit, of_worker_events
from edge_store.schema.tables import audit, worker_event, worker_sample


class HistoryRow(NamedTuple):
    """A change of a worker's state, or an entry of the audit trail about it."""

    at: datetime
    source: Literal["state", "audit"]
    id: int
    """In the table of its source."""
    kind: str
    actor: str | None
    detail: dict[str, Any]


Place = tuple[datetime, str, int]
"""Place of a row in the list: `at`, `source`, `id`."""


def history(name: str, limit: int, before: Place | None = None, scope: Scope = WHOLE) -> Statement[HistoryRow]:
    """Return what happened to a worker, newest first, before a place; also of a worker that was removed."""
    events = select(
        worker_event.c.at,
        literal("state", Text).label("source"),
        worker_event.c.id,
        worker_event.c.kind,
        null().cast(Text).label("actor"),
        worker_event.c.detail,
    ).where(worker_event.c.worker_name == name, of_worker_events(scope))
    entries = select(
        audit.c.at,
        literal("audit", Text).label("source"),
        audit.c.id,
        audit.c.action.label("kind"),
        audit.c.actor,
        audit.c.detail,
    ).where(audit.c.object == f"worker/{name}", of_audit(scope))
    both = union_all(events, entries).subquery("history")
    place = (both.c.at, both.c.source, both.c.id)
    chosen = select(*(both.c[field] for field in HistoryRow._fields))
    if before is not None:
        chosen = chosen.where(tuple_(*place) < tuple_(*before))
    chosen = chosen.order_by(*(column.desc() for column in place)).limit(limit)
    return Statement("worker_history", chosen, HistoryRow)


class SampleRow(NamedTuple):
    """How a worker was doing in one minute."""

    at: datetime
    slots: int
    slots_free: int
    jobs_active: int
    load1: float | None
    cpu_percent: float | None
    memory_percent: float | None
    disk_free_bytes: int | None


def samples(name: str, window: timedelta) -> Statement[SampleRow]:
    """Return the samples of a worker in the last `window`, oldest first."""
    executable = (
        select(*(worker_sample.c[field] for field in SampleRow._fields))
        .where(
            worker_sample.c.worker_name == name,
            worker_sample.c.at > func.now() - bindparam("window", window, type_=Interval),
        )
        .order_by(worker_sample.c.at)
    )
    return Statement("worker_samples", executable, SampleRow)
