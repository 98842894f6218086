"""Advisory locks, by which one of several replicas does a duty. A lock lives as long as the connection that took it."""

from typing import Final, NamedTuple

from sqlalchemy import text

from edge_store.database.statement import Statement

HOUSEKEEPING: Final = 0x6564676501
"""Held by the replica that requeues expired claims, declares silent workers lost and deletes old rows."""


class Lock(NamedTuple):
    """An attempt to take a lock."""

    held: bool
    """Whether this connection has it."""


def try_lock(key: int) -> Statement[Lock]:
    """Take a lock for the life of the connection if nobody has it."""
    return Statement("try_lock", text("SELECT pg_try_advisory_lock(:key) AS held").bindparams(key=key), Lock)
