"""Errors that the store raises.

StoreError
+-- UnsupportedDatabaseError    not PostgreSQL, or one that is too old
+-- UnreachableDatabaseError    no connection
+-- SchemaMismatchError         the schema has another version than this code needs
+-- RoleError                   the edge API's database role can't be set up
+-- UnexpectedColumnsError      a statement returns other columns than its row class has: a bug
"""


class StoreError(Exception):
    """Base of the store's errors. The message says what is wrong and how to fix it."""


class UnsupportedDatabaseError(StoreError):
    """The database is not PostgreSQL 13 or newer."""


class UnreachableDatabaseError(StoreError):
    """No connection to the database could be made."""


class SchemaMismatchError(StoreError):
    """The schema `edge` is missing, or has another version than this code needs."""


class RoleError(StoreError):
    """The edge API's own database role can't be set up."""


class UnexpectedColumnsError(StoreError):
    """A statement returns other columns than its row class has fields."""
