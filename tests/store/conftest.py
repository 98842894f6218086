"""Fixtures of the tests of SQL statements."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from edge_store.database import engine


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    """A connection whose transaction is rolled back unless the test commits."""
    with engine.make_engine(database).connect() as connection:
        yield connection
