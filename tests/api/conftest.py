"""Fixtures of the tests of the edge API.

Many tests share one API process and one database (`shared`, `shared_db`), which is emptied before each of them. Those
that need settings of their own, or kill a process, start their own (`api`, `start_api`, `db`).
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edge_demo.postgres import EmbeddedPostgres
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import BOUNDS, ELSEWHERE, MINE, OTHER_TEAM, AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi, api_starter
from edge_testing.edge_api.session import Client, heartbeat, session


@pytest.fixture(scope="session")
def shared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """An API process for all tests that do not change its settings or stop it."""
    database = postgres.create_database("edge_shared_api", template="edge_template")
    with ApiProcess(database, tmp_path_factory.mktemp("api") / "shared.log") as api:
        yield api


@pytest.fixture
def shared_db(shared: ApiProcess) -> Iterator[Db]:
    """The database of `shared`, emptied of what earlier tests stored."""
    with Db(shared.database) as opened:
        opened.empty()
        yield opened


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    """A database that only this test uses."""
    with Db(database) as opened:
        yield opened


@pytest.fixture
async def start_api(database: str, tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start API processes on `db`."""
    async with api_starter(database, tmp_path) as start:
        yield start


@pytest.fixture
async def api(start_api: StartApi) -> ApiProcess:
    """An API process on `db`."""
    return await start_api()


@pytest.fixture
async def admin(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    """An administrator of the whole fleet."""
    async with admin_client(shared.url, admin_credential(shared_db)) as client:
        yield client


@pytest.fixture
async def scoped(shared: ApiProcess, shared_db: Db) -> AsyncIterator[AdminClient]:
    """An administrator of a part of the fleet."""
    async with admin_client(shared.url, admin_credential(shared_db, **BOUNDS)) as client:
        yield client


@pytest.fixture
async def fleet(shared: ApiProcess, shared_db: Db) -> AsyncIterator[dict[str, Client]]:
    """One worker in the scope, one with another name and one of another team, all of the same queues."""
    clients = {}
    async with AsyncExitStack() as stack:
        for name, team in ((MINE, "red"), (ELSEWHERE, "red"), (OTHER_TEAM, "blue")):
            credential = worker_credential(shared_db, name, team=team, queues=["a", "c"])
            client = await stack.enter_async_context(session(shared.url, credential, name=name))
            await client.send(heartbeat(free_slots=4))
            clients[name] = client
        yield clients
