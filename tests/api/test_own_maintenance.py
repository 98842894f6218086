"""Maintenance that a worker's own host or health check requests."""

from typing import Any
from uuid import uuid4

from sqlalchemy import text

from edge_testing.database.db import Db
from edge_testing.edge_api.admin import admin_client
from edge_testing.edge_api.credentials import admin_credential, enroll
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client, frame, session


async def request_maintenance(worker: Client, *, on: bool, comment: str | None = None, source: str = "host") -> None:
    wish_id = uuid4()
    await worker.send(frame("maintenance", id=wish_id, on=on, comment=comment, source=source))
    await worker.expect("maintained", id=wish_id)


def desired(db: Db) -> tuple[bool, str | None, str | None]:
    [row] = db.rows("SELECT * FROM edge.worker_desired")
    return row.maintenance, row.maintenance_comment, row.maintenance_by


def trail(db: Db) -> list[Any]:
    statement = text("SELECT * FROM edge.audit WHERE actor = 'worker:w1' AND action LIKE '%maintenance' ORDER BY id")
    return [(row.action, row.detail["by"]) for row in db.rows(statement)]


async def test_host_enters_changes_the_comment_and_leaves(api: ApiProcess, db: Db) -> None:
    async with session(api.url, await enroll(api.url, db.url, "w1")) as worker:
        await request_maintenance(worker, on=True, comment="new disk")
        assert desired(db) == (True, "new disk", "worker host")
        shown = await worker.expect("desired", maintenance=True)
        assert (shown["maintenance_comment"], shown["maintenance_by"]) == ("new disk", "worker host")
        await request_maintenance(worker, on=True, comment="another disk")
        assert desired(db) == (True, "another disk", "worker host")
        await request_maintenance(worker, on=False)
        assert desired(db) == (False, None, None)
        await worker.expect("desired", maintenance=False)
    assert trail(db) == [
        ("worker.maintenance", "worker host"),
        ("worker.maintenance", "worker host"),
        ("worker.exit_maintenance", "worker host"),
    ]


async def test_repeat_changes_nothing_and_is_confirmed(api: ApiProcess, db: Db) -> None:
    async with session(api.url, await enroll(api.url, db.url, "w1")) as worker:
        for _ in range(2):
            await request_maintenance(worker, on=True, comment="new disk")
    assert len(trail(db)) == 1


async def test_no_job_is_claimed_after_the_request_is_stored(shared: ApiProcess, shared_db: Db) -> None:
    async with session(shared.url, await enroll(shared.url, shared_db.url, "w1")) as worker:
        await request_maintenance(worker, on=True, comment="new disk")
        [job] = shared_db.enqueue()
        await request_maintenance(worker, on=True, comment="another disk")
        assert not worker.has("job")
        await request_maintenance(worker, on=False)
        await worker.accept()
        assert shared_db.state(job) == "running"


async def test_host_leaves_what_an_administrator_set(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with (
        session(shared.url, credential) as worker,
        admin_client(shared.url, admin_credential(shared_db)) as admin,
    ):
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "from afar"})
        await request_maintenance(worker, on=False)
        assert desired(shared_db) == (False, None, None)


async def test_health_check_leaves_the_maintenance_of_others_alone(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with (
        session(shared.url, credential) as worker,
        admin_client(shared.url, admin_credential(shared_db)) as admin,
    ):
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "from afar"})
        await request_maintenance(worker, on=True, comment="hot", source="health")
        await request_maintenance(worker, on=False, source="health")
        assert desired(shared_db) == (True, "from afar", "anna")
        await request_maintenance(worker, on=False)
        await request_maintenance(worker, on=True, comment="hot", source="health")
        assert desired(shared_db) == (True, "hot", "worker health check")
        await request_maintenance(worker, on=True, comment="hotter", source="health")
        assert desired(shared_db) == (True, "hotter", "worker health check")
        await request_maintenance(worker, on=False, source="health")
        assert desired(shared_db) == (False, None, None)


async def test_request_in_a_hello_is_recorded_and_respects_that_of_others(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    before = len(trail(shared_db))
    async with session(shared.url, credential, maintenance=True, maintenance_comment="new disk"):
        assert desired(shared_db) == (True, "new disk", "worker host")
    assert trail(shared_db)[before:] == [("worker.maintenance", "worker host")]
    async with admin_client(shared.url, admin_credential(shared_db)) as admin:
        await admin.call("PUT", "/workers/w1/maintenance", json={"comment": "from afar"})
    async with session(shared.url, credential, maintenance=True, maintenance_comment="new disk"):
        assert desired(shared_db) == (True, "from afar", "anna")


async def test_comment_that_is_too_long_is_complained_about(shared: ApiProcess, shared_db: Db) -> None:
    async with session(shared.url, await enroll(shared.url, shared_db.url, "w1")) as worker:
        await worker.send(frame("maintenance", id=uuid4(), on=True, comment="x" * 1025))
        assert "comment" in (await worker.expect("error", code="bad_frame"))["message"]
        assert desired(shared_db)[0] is False
