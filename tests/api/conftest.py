"""Fixtures of the tests of the edge API."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.api.kit import ApiProcess, Db


class StartApi(Protocol):
    async def __call__(self, **settings: Any) -> ApiProcess: ...


@pytest.fixture
async def start_api(database: str, tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start API processes; all are stopped at the end, and none may have logged an exception."""
    started: list[ApiProcess] = []

    async def start(**settings: Any) -> ApiProcess:
        api = ApiProcess(database, tmp_path / f"api-{len(started)}.log", **settings)
        started.append(api)
        api.start()
        await api.ready()
        return api

    yield start
    for api in started:
        api.stop()
    for api in started:
        assert "Traceback" not in api.log.read_text(), api.log.read_text()


@pytest.fixture
async def api(start_api: StartApi) -> ApiProcess:
    return await start_api()


@pytest.fixture
def db(database: str) -> Iterator[Db]:
    with Db(database) as opened:
        yield opened
