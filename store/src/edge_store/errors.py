"""What the store raises.

StoreError
+-- DatabaseUnsupported    not PostgreSQL, or one that is too old
+-- DatabaseUnreachable    no connection
+-- SchemaMismatch         another schema version than this code needs
"""


class StoreError(Exception):
    """Base of the store's errors. The message says what is wrong and what mends it."""


class DatabaseUnsupported(StoreError):
    """The database is not PostgreSQL 13 or newer."""


class DatabaseUnreachable(StoreError):
    """No connection to the database could be made."""


class SchemaMismatch(StoreError):
    """The schema `edge` is missing or of another version than this code."""
