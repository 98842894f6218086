"""Errors that the store raises.

StoreError
+-- UnsupportedDatabaseError    not PostgreSQL, or one that is too old
|   +-- PooledSessionError      connections share the server's sessions
+-- UnreachableDatabaseError    no connection
+-- SchemaMismatchError         the schema has another version than this code needs
+-- RoleError                   the edge API's database role can't be set up
+-- UnexpectedColumnsError      a statement returns other columns than its row class has: a bug
"""


class StoreError(Exception):
    """Base of the store's errors. The message says what is wrong and how to fix it."""


class UnsupportedDatabaseError(StoreError):
    """The database is not PostgreSQL 13 or newer."""


class PooledSessionError(UnsupportedDatabaseError):
    """A connection pooler in transaction or statement mode stands between the edge API and PostgreSQL.

    Prepared statements, LISTEN and advisory locks need a session of their own. Set EDGE_API_DATABASE_URL to PostgreSQL
    itself, or set the pooler to session mode for this database or user (PgBouncer: pool_mode = session).
    """

    def __init__(self, before: str = "") -> None:
        super().__init__(before + " ".join((type(self).__doc__ or "").split()))


class UnreachableDatabaseError(StoreError):
    """No connection to the database could be made."""


class SchemaMismatchError(StoreError):
    """The schema `edge` is missing, or has another version than this code needs."""


class RoleError(StoreError):
    """The edge API's own database role can't be set up."""


class UnexpectedColumnsError(StoreError):
    """A statement returns other columns than its row class has fields."""
