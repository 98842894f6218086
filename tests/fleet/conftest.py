"""A fleet: an edge API of its own for each test, and real workers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi, api_starter
from edge_testing.workers.worker import Tasks, Worker, reaches


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    """A database that only this test uses."""
    with Db(database) as opened:
        yield opened


@pytest.fixture
async def start_api(database: str, tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start edge APIs on `db`, by default with a heartbeat of one second."""
    async with api_starter(database, tmp_path, heartbeat_interval_s=1) as start:
        yield start


@pytest.fixture
async def api(start_api: StartApi) -> ApiProcess:
    """The edge API, with a heartbeat of one second."""
    return await start_api()


@pytest.fixture
async def make_worker(db: Db, tmp_path: Path) -> AsyncIterator[Any]:
    """Enrol workers; those that still run at the end are killed."""
    made: list[Worker] = []

    def make(url: str, name: str = "w1", folder: Path | None = None, **scopes: Any) -> Worker:
        worker = Worker(folder or tmp_path, url, worker_credential(db, name, **scopes), name)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        await worker.kill()
        if worker.log.exists():
            print(f"---- {worker.log.name}\n{worker.log.read_text()}")  # noqa: T201 - shown where a test fails


@pytest.fixture
async def admin(api: ApiProcess, db: Db) -> AsyncIterator[AdminClient]:
    """An administrator called anna."""
    async with admin_client(api.url, admin_credential(db)) as client:
        yield client


@pytest.fixture
async def worker(api: ApiProcess, make_worker: Any, admin: AdminClient) -> Worker:
    """The worker `w1`, started and idle."""
    made: Worker = make_worker(api.url)
    await made.start()
    await reaches(admin, "idle")
    return made


@pytest.fixture
def tasks(db: Db, tmp_path: Path) -> Tasks:
    """Jobs that run until the test lets them go."""
    return Tasks(db, tmp_path)
