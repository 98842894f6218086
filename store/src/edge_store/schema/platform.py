"""Statements on `edge.platform`: what the parts of the platform tell each other."""

from sqlalchemy import Executable, func, select
from sqlalchemy.dialects.postgresql import insert

from edge_store.schema.tables import platform

AIRFLOW_VERSION = "airflow_version"
"""Written by the executor when it starts; what workers' versions are compared with."""


def put(key: str, value: str) -> Executable:
    """Store a value."""
    new = insert(platform).values(key=key, value=value)
    return new.on_conflict_do_update(index_elements=["key"], set_={"value": value, "updated_at": func.now()})


def get(key: str) -> Executable:
    """Return (value), or nothing."""
    return select(platform.c.value).where(platform.c.key == key)
