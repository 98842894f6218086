"""Statements on `edge.platform`: facts that one part of the platform publishes for the others."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from edge_store.database.statement import Command, Statement
from edge_store.schema.tables import platform

AIRFLOW_VERSION = "airflow_version"
"""Written by the executor when it starts; workers' versions are compared with it."""


CANARY = "canary"
"""Written each second by every replica of the edge API: the newest moment at which the database took a write."""


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


def canary() -> Command:
    """Prove that the database takes writes."""
    return Command("canary", put(CANARY, "").executable)
