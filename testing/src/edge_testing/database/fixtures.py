"""Fixtures: one embedded PostgreSQL for the session, and a migrated database of its own for each test."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge_demo.postgres import EmbeddedPostgres
from edge_testing.database.server import create_migrated


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """Start a server; its template database `edge_template` has the schema `edge` and the edge API's role."""
    # Not below pytest's own folder: another pytest of the same user would revoke the access of PostgreSQL's user to it.
    with TemporaryDirectory(prefix="airflow-edge-tests-") as folder, EmbeddedPostgres(Path(folder) / "data") as server:
        # Databases created from the template inherit the grants.
        create_migrated(server, "edge_template")
        yield server


@contextmanager
def _created(server: EmbeddedPostgres, prefix: str, template: str | None = None) -> Iterator[str]:
    name = f"{prefix}_{secrets.token_hex(4)}"
    yield server.create_database(name, template=template)
    server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database without the schema `edge`."""
    with _created(postgres, "empty") as url:
        yield url


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a migrated database that only this test uses."""
    with _created(postgres, "edge", "edge_template") as url:
        yield url


@pytest.fixture(scope="module")
def module_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a migrated database that only the tests of one file use."""
    with _created(postgres, "edge", "edge_template") as url:
        yield url
