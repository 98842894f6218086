"""What an error of PostgreSQL means for the caller, by its SQLSTATE: a pure function.

The codes are those of PostgreSQL's documentation, appendix "PostgreSQL Error Codes".
"""

from enum import Enum
from typing import Final


class Failure(Enum):
    """Kinds of failure."""

    AWAY = "away"
    """The database can't be used at the moment, and the connection is worth nothing: a standby, a full disk, a stop."""
    AGAIN = "again"
    """This statement failed, the database did not: a deadlock, a cancelled statement. The same may succeed later."""
    BROKEN = "broken"
    """An internal error of the server. It may be over at the next try, or never."""
    POOLER = "pooler"
    """Something between here and PostgreSQL moves statements of one connection to several of the server."""
    REFUSED = "refused"
    """The statement or its data is wrong."""


_AWAY_STATES: Final = frozenset({"25006", "25P03"})
"""A server that only reads (a standby after a failover, a managed database with a full disk), and a session that was
terminated while it waited for us."""
_AWAY_CLASSES: Final = ("08", "53", "57P")
"""Connection failures, insufficient resources, and shutdowns or terminations by an administrator."""
_AGAIN: Final = ("40", "55P03", "57014")
"""Serialization failures and deadlocks, a lock that could not be had in time, and a cancelled statement: somebody's
statement timeout or `pg_cancel_backend` says nothing about the database."""
_POOLER_STATES: Final = frozenset({"26000", "42P05"})


def classify(sqlstate: str) -> Failure:
    """Return the kind of failure."""
    if sqlstate in _AWAY_STATES or sqlstate.startswith(_AWAY_CLASSES):
        return Failure.AWAY
    if sqlstate.startswith(_AGAIN):
        return Failure.AGAIN
    if sqlstate.startswith("XX"):
        return Failure.BROKEN
    if sqlstate in _POOLER_STATES:
        return Failure.POOLER
    return Failure.REFUSED
