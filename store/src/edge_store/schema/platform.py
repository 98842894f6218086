"""Statements on `edge.platform`: facts that one part of the platform publishes for the others."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Interval, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import platform

AIRFLOW_VERSION = "airflow_version"
"""Written by the executor when it starts; workers' versions are compared with it."""


CANARY = "canary"
"""Written each second by every replica of the edge API: `updated_at` is the newest moment at which the database took a
write, `value` the moment at which its last stall ended (empty: none was seen)."""


class Fact(NamedTuple):
    """The value of a key."""

    value: str


def put(key: str, value: str) -> Command:
    """Store a value."""
    new = insert(platform).values(key=key, value=value)
    executable = new.on_conflict_do_update(index_elements=["key"], set_={"value": value, "updated_at": func.now()})
    return Command("put_platform", executable)


def get(key: str) -> Statement[Fact]:
    """Return the value of a key, or nothing."""
    return Statement("platform", select(platform.c.value).where(platform.c.key == key), Fact)


_CANARY = text(
    """
    INSERT INTO edge.platform (key, value) VALUES (:canary, '')
    ON CONFLICT (key) DO UPDATE SET updated_at = now(),
        value = CASE WHEN platform.updated_at < now() - :stall THEN now()::text ELSE platform.value END
    """
).bindparams(bindparam("stall", type_=Interval), canary=CANARY)


def canary(stall: timedelta) -> Command:
    """Prove that the database takes writes; one that took none for `stall` has stalled until now."""
    return Command("canary", _CANARY.bindparams(stall=stall))
