"""A connection pooler before PostgreSQL: the edge API refuses, at its start, any that shares sessions."""

import asyncio
from pathlib import Path

import pytest

from edge_testing.database.db import Db
from edge_testing.database.pooler import PoolMode, pooler
from edge_testing.edge_api.commands import edge_api
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, api_starter
from edge_testing.edge_api.session import session


@pytest.mark.parametrize(("mode", "round_robin"), [("transaction", 0), ("transaction", 1), ("statement", 0)])
def test_a_check_names_the_pooler_and_the_way_out(database: str, mode: PoolMode, round_robin: int) -> None:
    with pooler(database, mode, server_round_robin=round_robin) as pooled:
        done = edge_api(pooled, "db", "check")
    assert done.returncode == 2
    assert done.stderr.startswith("edge-api: A connection pooler in transaction or statement mode stands between")
    assert "EDGE_API_DATABASE_URL" in done.stderr
    assert "pool_mode = session" in done.stderr


def test_a_service_does_not_start(database: str, tmp_path: Path) -> None:
    with pooler(database, "transaction") as pooled:
        api = ApiProcess(pooled, tmp_path / "api.log")
        api.start()
        assert api.wait(60) == 2
    assert "A connection pooler in transaction or statement mode" in api.log.read_text()
    api.assert_no_traceback()


async def test_session_mode_is_like_no_pooler(database: str, db: Db, tmp_path: Path) -> None:
    with pooler(database, "session") as pooled, pooler(database, "transaction") as of_airflow:
        assert edge_api(pooled, "db", "check").returncode == 0
        async with api_starter(pooled, tmp_path) as start:
            api = await start(tick_s=60)
            async with session(api.url, await enroll(api.url, db.url, "w1")) as worker:
                # Airflow's own connections may be pooled; its hint arrives all the same.
                with Db(of_airflow) as scheduler:
                    [job] = await asyncio.to_thread(scheduler.enqueue)
                await worker.report(await worker.accept())
    assert db.state(job) == "succeeded"
