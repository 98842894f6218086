"""The change stream: the whole fleet, then every change, resumable on any replica."""

import asyncio

import pytest

from edge_store.database import engine
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import AdminClient, admin_client
from edge_testing.edge_api.credentials import admin_credential, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import heartbeat, session


async def test_begins_with_the_fleet_and_goes_on_with_changes(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with session(shared.url, worker_credential(shared_db, "w1")) as worker:
        await worker.send(heartbeat(free_slots=4))
        async with admin.changes() as changes:
            assert await changes.next() == ("reset", {})
            kind, view = await changes.next()
            assert (kind, view["name"]) == ("worker", "w1")
            assert (await changes.until("ready")) == {}
            await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "x"})
            await changes.until("worker", state="maintenance request")
            await worker.send(heartbeat(free_slots=4, maintenance_acknowledged=True))
            await changes.until("worker", state="maintenance mode")
            await worker.send({"type": "bye"})
            await changes.until("worker", state="offline maintenance")
            await admin.call("DELETE", "/workers/w1", 204)
            await changes.until("removed", name="w1")


async def test_slots_are_reported_though_heartbeats_missed_the_job(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    async with session(shared.url, worker_credential(shared_db, "w1")) as worker, admin.changes() as changes:
        await worker.send(heartbeat(free_slots=4))
        await changes.until("worker", state="idle")
        shared_db.enqueue()
        lease = await worker.accept()
        await worker.send(heartbeat(free_slots=4))
        await changes.until("worker", slots_used=1)
        await worker.report(lease)
        await worker.send(heartbeat(free_slots=4))
        await changes.until("worker", slots_used=0)


async def test_resumes_on_another_replica_without_missing_anything(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    credential = admin_credential(db)
    for name in ("w1", "w2", "w3"):
        async with session(one.url, worker_credential(db, name), name=name) as worker:
            await worker.send({"type": "bye"})
            await worker.closed()
    async with admin_client(one.url, credential) as admin, admin.changes() as changes:
        await changes.until("ready")
        place = changes.last_id
    async with admin_client(other.url, credential) as admin:
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "x"})
        await admin.call("DELETE", "/workers/w2", 204)
        async with admin.changes(place) as changes:
            seen = {}
            while (event := await changes.next())[0] != "ready":
                seen[event[1]["name"]] = event[0]
        assert seen == {"w1": "worker", "w2": "removed"}
        for too_old in ("1", "99999999999", "rubbish"):
            db.rows("INSERT INTO edge.platform VALUES ('tombstones_purged', '1') ON CONFLICT DO NOTHING")
            async with admin.changes(too_old) as changes:
                assert (await changes.next())[0] == "reset"


async def test_a_transaction_that_stays_open_delays_nobody_elses_change(
    shared: ApiProcess, shared_db: Db, admin: AdminClient
) -> None:
    for name in ("w1", "w2"):
        async with session(shared.url, worker_credential(shared_db, name), name=name) as worker:
            await worker.send({"type": "bye"})
            await worker.closed()
    async with admin.changes() as changes:
        await changes.until("ready")
        with engine.make_engine(shared_db.url).connect() as late:
            late.exec_driver_sql(
                "UPDATE edge.worker_desired SET maintenance = true, revision = DEFAULT WHERE worker_name = 'w1'"
            )
            await admin.call("PUT", "/workers/w2/maintenance", json={"comment": "x"})
            await changes.until("worker", name="w2", state="offline maintenance")
            late.commit()
        await changes.until("worker", name="w1", state="offline maintenance")


async def test_a_stream_ends_with_its_credential(shared: ApiProcess, shared_db: Db, admin: AdminClient) -> None:
    mine = admin_credential(shared_db, "read")
    async with admin_client(shared.url, mine) as reader, reader.changes() as changes:
        await changes.until("ready")
        (row,) = (each for each in (await admin.get("/credentials"))["items"] if each["role"] == "read")
        await admin.call("DELETE", f"/credentials/{row['id']}", 204)
        with pytest.raises(EOFError):
            await asyncio.wait_for(changes.until("never"), 5)
        await reader.get("/workers", 401)


async def test_a_replica_stops_while_streams_are_open(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    async with admin_client(api.url, admin_credential(db)) as admin, admin.changes() as changes:
        await changes.until("ready")
        stopped = asyncio.create_task(asyncio.to_thread(api.end))
        with pytest.raises(EOFError):
            await asyncio.wait_for(changes.until("never"), 10)
        assert await stopped == 0
