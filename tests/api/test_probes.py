"""Probes, metrics, and the commands' errors."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from edge_demo.environment import free_port
from edge_demo.postgres import EmbeddedPostgres
from edge_protocol import rest
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import edge_api
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import frame, heartbeat, session
from edge_testing.waiting import until


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()


async def test_info_and_probes(shared: ApiProcess) -> None:
    status, body = await get(f"{shared.url}{rest.INFO_PATH}")
    info = rest.ApiInfo.model_validate_json(body)
    assert (status, info.api, info.protocol_min, info.protocol_max) == (200, "airflow-edge", 2, 2)
    assert await get(f"{shared.url}/healthz") == (200, "ok")
    assert await get(f"{shared.url}/readyz") == (200, "ok")


async def test_metrics_show_jobs_workers_and_queues(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    credential = await enroll(api.url, db.url, "w1")
    db.enqueue(3, queue="waiting")
    async with session(api.url, credential) as worker:
        db.enqueue(2)
        await worker.report(await worker.accept())
        await worker.report(await worker.accept(), "failed")
        await worker.send(heartbeat(free_slots=4), frame("report", lease_id=os.urandom(16).hex(), outcome="failed"))
        await worker.expect("fenced")
        await until(lambda: db.worker("w1").initialised, "the heartbeat is written")
        expected = {
            'airflow_edge_jobs_finished_total{outcome="succeeded"}': 1,
            'airflow_edge_jobs_finished_total{outcome="failed"}': 1,
            "airflow_edge_dispatch_latency_seconds_count": 2,
            "airflow_edge_jobs_dispatched_total": 2,
            'airflow_edge_sessions{transport="websocket"}': 1,
            'airflow_edge_workers{state="idle"}': 1,
            'airflow_edge_queue_depth{queue="waiting"}': 3,
            'airflow_edge_slots{queue="default",use="free"}': 4,
            'airflow_edge_fenced_total{frame="report"}': 1,
            "airflow_edge_database_up": 1,
        }
        found = {name: await api.metric(name) for name in expected}
        assert found == expected
        status, text = await get(f"{api.url}/metrics")
        assert status == 200
        assert "w1" not in text


async def test_readiness_follows_the_schema(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    [version] = db.rows("SELECT version_num FROM edge.schema_version")
    db.rows("UPDATE edge.schema_version SET version_num = '9999'")
    await until(lambda: says(api, 503, "schema version 9999"), "not ready")
    db.rows(f"UPDATE edge.schema_version SET version_num = '{version.version_num}'")
    await until(lambda: says(api, 200, "ok"), "ready again")


async def says(api: ApiProcess, status: int, text: str) -> bool:
    found, body = await get(f"{api.url}/readyz")
    return found == status and text in body


def test_a_database_of_another_kind_is_refused() -> None:
    done = edge_api("mysql://user:hunter2@host/airflow", "serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("edge-api: The database is mysql, but Airflow Edge needs PostgreSQL")
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("command", [("db", "check"), ("db", "upgrade"), ("token", "create")])
def test_an_unreachable_database_is_named(command: tuple[str, ...]) -> None:
    done = edge_api("postgresql://user:hunter2@127.0.0.1:1/airflow", *command)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "127.0.0.1:1/airflow can't be reached" in done.stderr
    assert "hunter2" not in done.stderr


async def test_the_service_waits_for_an_unreachable_database(tmp_path: Path) -> None:
    api = ApiProcess("postgresql://user:hunter2@127.0.0.1:1/airflow", tmp_path / "api.log")
    api.start()
    named = "127.0.0.1:1/airflow can't be reached"
    await until(lambda: named in api.log.read_text(), "it names the database")
    assert api.running
    api.kill()
    assert len(api.log.read_text().splitlines()) == 1
    assert "hunter2" not in api.log.read_text()


def test_the_schema_is_checked_and_upgraded(empty_database: str) -> None:
    for command in (("serve",), ("db", "check"), ("token", "create")):
        done = edge_api(empty_database, *command)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "edge-api db upgrade" in done.stderr
    assert edge_api(empty_database, "db", "upgrade").returncode == 0
    assert edge_api(empty_database, "db", "upgrade").returncode == 0
    assert edge_api(empty_database, "db", "check").returncode == 0
    made = edge_api(empty_database, "token", "create", "--queues", "a,b", "--expires", "7d", "--uses", "2")
    assert made.stdout.startswith("edgej_")
    assert len(made.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--expires", "soon"), "give one like 30m, 24h or 7d"),
        (("--uses", "0"), "give 1 or more"),
        (("--queues", "q" * 257), "invalid queue name"),
        (("--queues", "a,,b"), "invalid queue name"),
    ],
)
def test_bad_options_of_a_token(database: str, options: tuple[str, ...], said: str) -> None:
    done = edge_api(database, "token", "create", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("database", "settings", "said"),
    [
        ("postgresql://x", {"EDGE_API_PORT": "x"}, "Invalid EDGE_API_PORT"),
        ("postgresql://x", {"EDGE_API_HEARTBEAT_INTERVAL_S": "0"}, "Invalid EDGE_API_HEARTBEAT_INTERVAL_S"),
        (None, {}, "EDGE_API_DATABASE_URL is not set"),
        ("x", {}, "The database URL can't be read"),
    ],
)
def test_bad_settings(database: str | None, settings: dict[str, str], said: str) -> None:
    done = edge_api(database, "serve", **settings)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("EDGE_API_TLS_CERTIFICATE", "can't be used"),
        ("EDGE_API_TLS_KEY", "without EDGE_API_TLS_CERTIFICATE"),
    ],
)
def test_bad_certificates(database: str, variable: str, said: str) -> None:
    done = edge_api(database, "serve", **{variable: "/nowhere.pem"})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr


async def test_an_address_that_is_in_use_is_named(shared: ApiProcess) -> None:
    # The only command in this file that runs as a process of its own.
    command = [sys.executable, "-m", "edge_api", "serve", "--port", str(shared.port)]
    environment = {**os.environ, "EDGE_API_DATABASE_URL": shared.database}
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"Can't listen on 127.0.0.1:{shared.port}" in done.stderr
    assert free_port() != shared.port


async def test_readiness_follows_the_database(start_api: StartApi, db: Db, postgres: EmbeddedPostgres) -> None:
    api = await start_api()
    postgres.restart()
    await until(lambda: says(api, 200, "ok"), "ready after a restart of the database")
    assert await get(f"{api.url}/healthz") == (200, "ok")
