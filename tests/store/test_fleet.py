"""Desired state, views, removal, the change stream and the audit trail, against real PostgreSQL."""

import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection, text

from edge_store import retention
from edge_store.database import engine
from edge_store.database.notify import Notification, notify
from edge_store.database.statement import Command, Statement, rows, run
from edge_store.identity import audit
from edge_store.jobs import claims, leases, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, changes, requests, worker_views
from edge_testing.database.records import one

WINDOW = timedelta(seconds=30)
STALL = timedelta(seconds=5)


def register(db: Connection, name: str = "w1", **values: Any) -> agents.Registration:
    new = agents.Registration(name, uuid4(), None, ["default"], 4, uuid4(), uuid4(), None, {})
    new = dataclasses.replace(new, **values)
    assert one(db, agents.register(new, WINDOW)).name == name
    return new


def view(db: Connection, name: str = "w1") -> worker_views.WorkerRow:
    return one(db, worker_views.one_worker(name))


def names(db: Connection, statement: Statement[Any]) -> list[str]:
    return sorted(row.name for row in rows(db, statement))


def run_job(db: Connection, worker: agents.Registration, slots: int = 1) -> UUID:
    job = scheduling.NewJob(uuid4(), "task", "default", None, 1, 1, slots, "{}", "p", "d", "t", "r", -1, 1, "1")
    lease = uuid4()
    run(db, scheduling.enqueue(job))
    pick = claims.Pick(job.id, worker.name, worker.session_id, lease)
    assert len(rows(db, claims.claim([pick], timedelta(seconds=10)))) == 1
    rows(db, leases.accept([leases.HeldLease(lease, worker.name)]))
    return job.id


def test_a_repeated_maintenance_request_changes_nothing(db: Connection) -> None:
    register(db)
    assert names(db, requests.enter_maintenance(["w1", "nobody"], "disk", "anna")) == ["w1"]
    first = view(db)
    assert (first.maintenance, first.maintenance_comment, first.maintenance_by) == (True, "disk", "anna")
    assert names(db, requests.enter_maintenance(["w1"], "disk", "anna")) == []
    assert names(db, requests.enter_maintenance(["w1"], "the other disk", "anna")) == ["w1"]
    assert view(db).version == first.version + 1
    assert names(db, requests.exit_maintenance(["w1"])) == ["w1"]
    assert names(db, requests.exit_maintenance(["w1"])) == []
    assert (view(db).maintenance, view(db).maintenance_comment) == (False, None)


def test_shutdown_is_for_live_workers_and_is_taken_back_until_it_begins(db: Connection) -> None:
    worker = register(db)
    assert names(db, requests.shut_down(["w1"])) == ["w1"]
    assert names(db, requests.cancel_shutdown(["w1"])) == ["w1"]
    rows(db, requests.shut_down(["w1"]))
    rows(db, agents.heartbeats([agents.Beat("w1", worker.session_id, 0, 4, False, True, {})]))
    assert names(db, requests.cancel_shutdown(["w1"])) == []
    run(db, agents.disconnect("w1", worker.session_id))
    assert not view(db).shutdown
    assert names(db, requests.shut_down(["w1"])) == []


def test_adjust_adds_removes_and_overrides(db: Connection) -> None:
    register(db)
    rows(db, requests.adjust(["w1"], ["b", "a"], ["default"], 2, set_concurrency=True))
    row = view(db)
    assert (row.queues_added, row.queues_removed, row.concurrency_override) == (["a", "b"], ["default"], 2)
    rows(db, requests.adjust(["w1"], ["default"], ["a"], None, set_concurrency=False))
    row = view(db)
    assert (row.queues_added, row.queues_removed, row.concurrency_override) == (["b", "default"], ["a"], 2)
    rows(db, requests.adjust(["w1"], [], [], None, set_concurrency=True))
    assert view(db).concurrency_override is None


def test_a_live_worker_is_not_removed(db: Connection) -> None:
    worker = register(db)
    assert rows(db, requests.remove(["w1"])) == []
    run(db, agents.disconnect("w1", worker.session_id))
    assert names(db, requests.remove(["w1", "nobody"])) == ["w1"]
    assert rows(db, worker_views.one_worker("w1")) == []


def test_removal_loses_what_the_worker_held_and_revokes_its_credentials(db: Connection) -> None:
    worker = register(db)
    job = run_job(db, worker)
    db.execute(
        text(
            "INSERT INTO edge.credential (id, secret_hash, role, worker_name, identity, expires_at)"
            " VALUES (gen_random_uuid(), '', 'worker', 'w1', gen_random_uuid(), now() + interval '1 day')"
        )
    )
    run(db, agents.disconnect("w1", worker.session_id))
    assert one(db, requests.remove(["w1"])) == ("w1", 1)
    found = db.execute(text("SELECT state, error FROM edge.job WHERE id = :id").bindparams(id=job)).one()
    assert tuple(found) == ("lost", "edge worker w1 was removed from the fleet")
    assert db.execute(text("SELECT count(*) FROM edge.credential WHERE revoked_at IS NULL")).scalar_one() == 0


def test_views_count_slots_and_go_by_name(db: Connection) -> None:
    worker = register(db)
    register(db, "W2", team="blue")
    register(db, "w3")
    run_job(db, worker, slots=3)
    assert view(db).slots_used == 3
    assert [row.name for row in rows(db, worker_views.workers("", 2))] == ["W2", "w1"]
    assert [row.name for row in rows(db, worker_views.workers("w1", 2))] == ["w3"]
    assert [row.name for row in rows(db, worker_views.workers("", 9, team="blue"))] == ["W2"]
    assert [row.name for row in rows(db, worker_views.workers("", 9, names=["w3"]))] == ["w3"]


def test_cordon_reasons_are_written_only_where_they_changed(db: Connection) -> None:
    register(db)
    register(db, "w2", cordon_reason="old")
    assert names(db, agents.set_cordon_reasons({"w1": "too old", "w2": "old"})) == ["w1"]
    assert names(db, agents.set_cordon_reasons({"w1": None, "w2": "old"})) == ["w1"]


def test_own_window_of_silence(db: Connection) -> None:
    register(db, "v1", silent_after_s=90, protocol=1)
    register(db, "v2")
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '60 s'"))
    run(db, platform.canary(STALL))
    assert [row.name for row in rows(db, agents.lose_silent(WINDOW, STALL))] == ["v2"]
    assert one(db, agents.name_owner("v1", WINDOW)).live
    assert not one(db, agents.name_owner("v2", WINDOW)).live


def seen(db: Connection, since: int) -> list[str]:
    return [row.name for row in rows(db, worker_views.changed_since(since))]


def commit(db: Connection, *statements: Statement[Any] | Command) -> int:
    """Run, commit, and return the horizon after it."""
    for statement in statements:
        db.execute(statement.executable)
    db.commit()
    horizon: int = one(db, changes.horizon()).horizon
    db.commit()
    return horizon


@pytest.fixture
def idle(db: Connection) -> tuple[Connection, agents.Registration, agents.Beat, int]:
    worker = register(db)
    beat = agents.Beat("w1", worker.session_id, 0, 4, False, False, {})
    return db, worker, beat, commit(db, agents.heartbeats([beat]))


def test_only_heartbeats_that_differ_are_changes(
    idle: tuple[Connection, agents.Registration, agents.Beat, int],
) -> None:
    db, _, beat, place = idle
    commit(db, agents.heartbeats([dataclasses.replace(beat, sysinfo={"load": 1})]))
    assert seen(db, place) == []
    worked = dataclasses.replace(beat, worked=True)
    after = commit(db, agents.heartbeats([worked]))
    assert seen(db, place) == ["w1"]
    place = after
    for values in ({"jobs_active": 1}, {"free_slots": 1}, {"maintenance_acknowledged": True}, {"terminating": True}):
        beat = dataclasses.replace(beat, **values)
        after = commit(db, agents.heartbeats([beat]))
        assert seen(db, place) == ["w1"], values
        assert seen(db, after) == [], values
        place = after


def test_changes_by_heartbeats_are_hinted(idle: tuple[Connection, agents.Registration, agents.Beat, int]) -> None:
    db, _, beat, _ = idle
    commit(db, Command("listen", text("LISTEN edge")))
    driver: psycopg.Connection[Any] = db.connection.driver_connection  # type: ignore[assignment]

    def hinted() -> str:
        return next(driver.notifies(timeout=10)).payload

    commit(db, agents.heartbeats([beat]), notify(Notification("desired", "w1")))
    assert hinted() == "desired w1"
    commit(db, agents.heartbeats([dataclasses.replace(beat, jobs_active=1)]))
    assert hinted() == "fleet changed"


@pytest.mark.parametrize(
    "change", ["hello", "bye", "lost", "maintenance", "host", "effective", "adjust", "shutdown", "cordon"]
)
def test_every_change_that_people_see_is_a_change(
    idle: tuple[Connection, agents.Registration, agents.Beat, int], change: str
) -> None:
    db, worker, _, place = idle
    statements: dict[str, Statement[Any] | Command] = {
        "hello": agents.register(worker, WINDOW),
        "bye": agents.disconnect("w1", worker.session_id),
        "lost": agents.lose_silent(timedelta(seconds=-1), STALL),
        "maintenance": requests.enter_maintenance(["w1"], "x", "y"),
        "host": requests.enter_maintenance(["w1"], "hot", "worker host", own_only=True),
        "effective": agents.set_effective("w1", worker.session_id, ["q"], 2),
        "adjust": requests.adjust(["w1"], ["q"], [], None, set_concurrency=False),
        "shutdown": requests.shut_down(["w1"]),
        "cordon": agents.set_cordon_reasons({"w1": "too old"}),
    }
    run(db, platform.canary(STALL))
    after = commit(db, statements[change])
    assert seen(db, place) == ["w1"]
    assert seen(db, after) == []


def test_a_commit_that_comes_late_is_not_missed(database: str) -> None:
    made = engine.make_engine(database)
    with made.connect() as setup, made.connect() as late, made.connect() as early, made.connect() as reader:
        register(setup)
        register(setup, "w2")
        place = commit(setup)
        rows(late, requests.enter_maintenance(["w1"], "x", "y"))
        commit(early, requests.enter_maintenance(["w2"], "x", "y"))
        after = commit(reader)
        assert seen(reader, place) == ["w2"]
        reader.commit()
        late.commit()
        assert "w1" in seen(reader, after)


def test_tombstones_are_reported_until_the_worker_is_back_or_they_are_purged(
    idle: tuple[Connection, agents.Registration, agents.Beat, int],
) -> None:
    db, worker, _, place = idle
    commit(db, agents.disconnect("w1", worker.session_id), requests.remove(["w1"]))
    assert names(db, changes.removed_since(place)) == ["w1"]
    db.rollback()
    assert one(db, changes.horizon()).purged == 0
    run(db, changes.purge_tombstones(timedelta(hours=1)))
    assert one(db, changes.horizon()).purged == 0
    register(db)
    assert names(db, changes.removed_since(place)) == []
    db.rollback()
    commit(db, changes.purge_tombstones(timedelta(seconds=-1)))
    assert one(db, changes.horizon()).purged >= place
    assert names(db, changes.removed_since(place)) == []


def test_audit_filters_and_pages(db: Connection) -> None:
    new = [
        audit.NewAudit("admin:anna:1", "worker.maintenance", "worker/w1", {"comment": "x"}),
        audit.NewAudit("admin:anna:1", "worker.shutdown", "worker/w2"),
        audit.NewAudit("read:bob:2", "auth.refused", "credential/2"),
    ]
    run(db, audit.add(new))
    all_of_them = rows(db, audit.entries(10))
    assert [row.action for row in all_of_them] == ["auth.refused", "worker.shutdown", "worker.maintenance"]
    assert all_of_them[-1].detail == {"comment": "x"}
    assert len(rows(db, audit.entries(10, before=all_of_them[0].id))) == 2
    assert len(rows(db, audit.entries(1))) == 1
    assert len(rows(db, audit.entries(10, actor="admin:anna"))) == 2
    assert len(rows(db, audit.entries(10, actor="admin:%"))) == 0
    assert len(rows(db, audit.entries(10, action="worker."))) == 2
    assert len(rows(db, audit.entries(10, object_="worker/w2"))) == 1
    assert len(rows(db, audit.entries(10, since=all_of_them[0].at + timedelta(hours=1)))) == 0
    assert one(db, retention.audit_entries(timedelta(seconds=-1))).deleted == 3
    assert rows(db, audit.entries(10)) == []


def test_platform_values_are_replaced(db: Connection) -> None:
    assert rows(db, platform.get("k")) == []
    run(db, platform.put("k", "1"))
    run(db, platform.put("k", "2"))
    assert one(db, platform.get("k"))[0] == "2"
