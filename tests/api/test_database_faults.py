"""The database only reads, stalls, or is out of reach of one replica: no job of a live worker is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from edge_api.database.pool import Database
from edge_api.held_bytes import HeldBytes
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.sessions.registry import Registry
from edge_api.settings import LONGEST_STALL, ApiSettings
from edge_api.upkeep.contact import DatabaseContact
from edge_demo.postgres import EmbeddedPostgres
from edge_store.database.statement import Statement
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi, api_starter
from edge_testing.edge_api.session import Client, connect, frame, heartbeat, hello, session
from edge_testing.relay import LOCALHOST, Relay
from edge_testing.waiting import until


class Timeout(NamedTuple):
    """The answer to SHOW."""

    idle_in_transaction_session_timeout: str


PASSES = 'airflow_edge_housekeeping_passes_total{duty="liveness"}'


@contextmanager
def only_reads(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Let the server refuse writes in all sessions, like a managed database with a full disk."""
    postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    postgres.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        postgres.execute("ALTER SYSTEM RESET default_transaction_read_only")
        postgres.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def beating(worker: Client, *held: str) -> AsyncIterator[None]:
    """Send heartbeats while the block runs and the connection lives."""

    async def beat() -> None:
        with suppress(ConnectionError):
            while True:
                # As of the newest desired state, so that it is not sent again and again.
                await worker.send(heartbeat(*held, desired_version=1))
                await asyncio.sleep(0.3)

    task = asyncio.create_task(beat(), name="beat")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ready(api: ApiProcess) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"{api.url}/readyz") as answer:
        return answer.status, await answer.text()


async def is_not_ready(api: ApiProcess) -> bool:
    status, text = await ready(api)
    return status == 503 and "The database is away" in text


async def is_ready(api: ApiProcess) -> bool:
    return (await ready(api))[0] == 200


async def liveness_has_looked(api: ApiProcess) -> None:
    """Wait for two whole passes of the duty that declares workers silent."""
    before = await api.metric(PASSES)

    async def looked() -> bool:
        return bool(await api.metric(PASSES) >= before + 2)

    await until(looked, "the liveness duty has looked")


async def test_a_database_that_only_reads_loses_nothing(
    start_api: StartApi, db: Db, postgres: EmbeddedPostgres
) -> None:
    api = await start_api(heartbeat_interval_s=1)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        jobs = db.enqueue(2)
        leases = [await worker.accept() for _ in jobs]
        async with beating(worker, *leases):
            with only_reads(postgres):
                await until(lambda: is_not_ready(api), "the replica is not ready")
                await worker.send(frame("report", lease_id=leases[0], outcome="succeeded"))
                # Not the frame is wrong: the worker is sent away, to come again.
                assert not (await worker.expect("error", code="database_away"))["fatal"]
                assert await worker.closed() == 1013
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    async with connect(api.url, credential):
                        pass
        await until(lambda: is_ready(api), "the replica is ready again")
    async with session(api.url, credential, held=leases) as worker, beating(worker, leases[1]):
        await worker.report(leases[0])
        await liveness_has_looked(api)
        await worker.report(leases[1])
    assert {db.state(job) for job in jobs} == {"succeeded"}


async def test_one_write_that_fails_is_one_failure(database: str, postgres: EmbeddedPostgres) -> None:
    metrics = Metrics()
    pool = Database(database, 1, metrics)
    settings = ApiSettings(database_url=SecretStr(database))
    registry = Registry(settings, metrics, HeldBytes(settings.held_bytes_max, metrics), Refusals(pool), lambda: None)
    contact = DatabaseContact(pool, registry, metrics, settings)
    with only_reads(postgres):
        writing = asyncio.create_task(contact.run(), name="canary")
        await until(lambda: contact.problem is not None, "a write has failed")
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await pool.close()
    assert metrics.registry.get_sample_value("airflow_edge_database_failures_total") == 1


async def test_a_hello_to_a_database_that_only_reads_is_not_refused_for_good(
    start_api: StartApi, db: Db, postgres: EmbeddedPostgres
) -> None:
    """Its agent would end with an exit code after which systemd does not start it again."""
    api = await start_api(heartbeat_interval_s=60)
    credential = await enroll(api.url, db.url, "w1")
    with only_reads(postgres):
        async with connect(api.url, credential) as worker:
            await worker.send(hello("w1"))
            assert not (await worker.expect("error", code="database_away"))["fatal"]
            assert await worker.closed() == 1013


async def test_an_api_that_starts_while_the_database_only_reads_serves_afterwards(
    start_api: StartApi, db: Db, postgres: EmbeddedPostgres
) -> None:
    api = await start_api()
    api.end()
    with only_reads(postgres):
        api.start()
        await until(lambda: "read-only" in api.log.read_text(), "it reports that it waits for the database")
        assert api.running
    await asyncio.to_thread(api.wait_ready)


async def test_a_database_that_stalls_loses_nothing(start_api: StartApi, db: Db, postgres: EmbeddedPostgres) -> None:
    """The stall is longer than the silence after which workers count as lost."""
    api = await start_api(heartbeat_interval_s=1)
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        jobs = db.enqueue(2)
        leases = [await worker.accept() for _ in jobs]
        async with beating(worker, *leases):
            with postgres.stalled():
                assert await worker.closed() == 1013
        await until(lambda: is_ready(api), "the replica is ready again")
    async with session(api.url, credential, held=leases) as worker, beating(worker, *leases):
        await liveness_has_looked(api)
        for lease in leases:
            await worker.report(lease)
    assert {db.state(job) for job in jobs} == {"succeeded"}


async def test_a_replica_that_is_cut_off_sends_its_workers_to_another(
    start_api: StartApi, db: Db, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = await start_api()
    url = make_url(db.url)
    with Relay(Path(str(url.query["host"])) / ".s.PGSQL.5432") as relay:
        relayed = url.set(host=LOCALHOST, port=relay.port, query={}).render_as_string(hide_password=False)
        async with api_starter(relayed, tmp_path_factory.mktemp("cut")) as start_cut:
            api = await start_cut()
            credential = await enroll(other.url, db.url, "w1")
            async with session(api.url, credential) as worker:
                [job] = db.enqueue()
                lease = await worker.accept()
                async with beating(worker, lease):
                    relay.stop_forwarding()
                    assert await worker.closed() == 1013
                    # A probe that asked the database now would have its answer in 40 s.
                    async with asyncio.timeout(LONGEST_STALL.total_seconds()):
                        assert await is_not_ready(api)
            async with session(other.url, credential, held=[lease]) as worker, beating(worker, lease):
                await liveness_has_looked(other)
                await worker.report(lease)
            assert db.state(job) == "succeeded"
            api.kill()


async def test_a_transaction_of_a_replica_that_is_cut_off_ends_by_itself(database: str) -> None:
    """It would hold its locks for as long as the server takes the connection for alive: hours by default."""
    pool = Database(database, 1, Metrics())
    try:
        timeout = await pool.first(Statement("timeout", text("SHOW idle_in_transaction_session_timeout"), Timeout))
    finally:
        await pool.close()
    assert timeout == ("10s",)


async def test_a_job_that_was_lost_is_cancelled_at_a_worker_that_is_connected(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    credential = await enroll(api.url, db.url, "w1")
    async with session(api.url, credential) as worker:
        [job] = db.enqueue()
        lease = await worker.accept()
        # As the liveness duty of another replica does it.
        db.rows("UPDATE edge.job SET state = 'lost', finished_at = now(), workload = NULL")
        db.rows("SELECT pg_notify('edge', 'cancel w1')")
        await worker.expect("cancel", lease_id=lease)
    assert (db.state(job), UUID(lease)) == ("lost", db.job(job).lease_id)
