"""Advisory locks: who of several replicas does a duty. A lock lives as long as the connection that took it."""

from typing import Final

from sqlalchemy import Executable, text

HOUSEKEEPING: Final = 0x6564676501
"""The replica that rescues leases, watches for silent workers and deletes what is old."""


def try_lock(key: int) -> Executable:
    """Take a lock for the life of the connection if nobody has it, and return whether this connection has it."""
    return text("SELECT pg_try_advisory_lock(:key)").bindparams(key=key)
