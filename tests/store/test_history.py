"""What happened to a worker, and samples: written by the statements that make the change."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from edge_protocol.admin import WorkerEventKind
from edge_store import retention
from edge_store.database.statement import rows, run
from edge_store.identity import audit
from edge_store.jobs import leases, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, history, requests
from edge_testing.database.records import SECOND, claim, new_job, one, register

HOUR = timedelta(hours=1)
BUSY = agents.Sample(load1=1.5, cpu_percent=99, memory_percent=40, disk_free_bytes=1 << 40)


def kinds(db: Connection, name: str = "w1") -> list[str]:
    return [row.kind for row in reversed(rows(db, history.history(name, 99)))]


def details(db: Connection, kind: str) -> list[dict[str, Any]]:
    query = text("SELECT detail FROM edge.worker_event WHERE kind = :kind ORDER BY id").bindparams(kind=kind)
    return list(db.execute(query).scalars())


def beat(worker: agents.Registration, **changes: Any) -> agents.Beat:
    new = agents.Beat(worker.name, worker.session_id, 0, 4, False, False, {})
    return replace(new, **changes)


def test_life_of_a_worker(db: Connection) -> None:
    worker = register(db)
    register(db, identity=worker.identity, instance=worker.instance, session_id=worker.session_id)
    for changes in (
        {"jobs_active": 1, "maintenance_acknowledged": True},
        {"maintenance_acknowledged": True},
        {"maintenance_acknowledged": True},
        {},
        {"terminating": True},
        {"terminating": True, "worked": True},
    ):
        rows(db, agents.heartbeats([beat(worker, **changes)]))
    db.execute(text("UPDATE edge.worker_desired SET shutdown = true"))
    run(db, agents.disconnect("w1", worker.session_id))
    run(db, agents.disconnect("w1", worker.session_id))
    events = db.execute(text("SELECT kind FROM edge.worker_event ORDER BY id")).scalars().all()
    assert events == [
        "connected",
        "connected",
        "maintenance_reached",
        "maintenance_left",
        "terminating",
        "disconnected",
    ]
    assert [detail["started"] for detail in details(db, "connected")] == [True, False]
    assert details(db, "disconnected") == [{"requested": True}]
    rows(db, requests.remove(["w1"]))
    assert len(kinds(db)) == len(events)
    assert set(events) <= set(WorkerEventKind)


def test_an_ordinary_heartbeat_writes_no_event(db: Connection) -> None:
    worker = register(db)
    for active in (0, 1, 2, 0):
        rows(db, agents.heartbeats([beat(worker, jobs_active=active, worked=True)]))
    assert kinds(db) == ["connected"]


def test_lost_and_heard_again(db: Connection) -> None:
    run(db, platform.canary(5 * SECOND))
    worker = register(db)
    job = new_job()
    run(db, scheduling.enqueue(job))
    lease = claim(db, job, worker)
    assert lease is not None
    rows(db, leases.accept([leases.HeldLease(lease, "w1")]))
    db.execute(text("UPDATE edge.worker SET last_heartbeat = now() - interval '1 h'"))
    one(db, agents.lose_silent(30 * SECOND, 5 * SECOND))
    rows(db, agents.heartbeats([beat(worker)]))
    assert sorted(kinds(db)) == ["connected", "lost", "recovered"]
    (detail,) = details(db, "lost")
    assert (detail["jobs_lost"], "last_heartbeat" in detail) == (1, True)


def test_cordons(db: Connection) -> None:
    register(db)
    for reason in ("too old", "too old", None):
        rows(db, agents.set_cordon_reasons({"w1": reason}))
    assert details(db, "cordoned") + details(db, "uncordoned") == [{"reason": "too old"}, {}]


def test_events_and_audit_entries_are_one_list_of_pages(db: Connection) -> None:
    register(db)
    for number in range(3):
        run(db, audit.add([audit.NewAudit("admin:anna", f"a{number}", "worker/w1", {"n": number})]))
    run(db, audit.add([audit.NewAudit("admin:anna", "x", "worker/w10"), audit.NewAudit("admin:anna", "x", "token/1")]))
    whole = rows(db, history.history("w1", 99))
    # All are of one transaction, so of one time.
    assert [row.kind for row in whole] == ["connected", "a2", "a1", "a0"]
    assert (whole[1].source, whole[1].actor, whole[1].detail) == ("audit", "admin:anna", {"n": 2})
    paged, place = [], None
    while page := rows(db, history.history("w1", 1, place)):
        paged += page
        place = (page[-1].at, page[-1].source, page[-1].id)
    assert paged == whole


def test_samples_are_kept_for_an_hour(db: Connection) -> None:
    first, second = register(db), register(db, "w2")
    rows(db, agents.heartbeats([beat(first, sample=BUSY, free_slots=3), beat(second)]))
    rows(db, agents.heartbeats([beat(first, sample=agents.Sample(), free_slots=1, jobs_active=2)]))
    (found,) = rows(db, history.samples("w1", HOUR))
    assert found[1:] == (4, 1, 2, None, None, None, None)
    db.execute(text("UPDATE edge.worker_sample SET minute = (minute + 1) % 60, at = at - interval '59 min'"))
    rows(db, agents.heartbeats([beat(first, sample=BUSY)]))
    old, new = rows(db, history.samples("w1", HOUR))
    assert (old.at < new.at, new.load1, new.cpu_percent, new.disk_free_bytes) == (True, 1.5, 99, 1 << 40)
    assert rows(db, history.samples("w2", HOUR)) == []
    # An older one is not shown, and the next of its minute replaces it.
    db.execute(text("UPDATE edge.worker_sample SET at = at - interval '1 h'"))
    assert rows(db, history.samples("w1", HOUR)) == []
    rows(db, agents.heartbeats([beat(first, sample=BUSY)]))
    assert db.execute(text("SELECT count(*) FROM edge.worker_sample")).scalar_one() == 2
    run(db, agents.disconnect("w1", first.session_id))
    rows(db, requests.remove(["w1"]))
    assert db.execute(text("SELECT count(*) FROM edge.worker_sample")).scalar_one() == 0


def test_a_heartbeat_of_an_old_session_leaves_no_sample(db: Connection) -> None:
    old = register(db)
    register(db, identity=old.identity)
    assert rows(db, agents.heartbeats([beat(old, sample=BUSY, terminating=True)])) == []
    assert rows(db, history.samples("w1", HOUR)) == []
    assert kinds(db) == ["connected", "connected"]


def test_old_events_and_samples_are_deleted(db: Connection) -> None:
    for name in ("w1", "w2"):
        rows(db, agents.heartbeats([beat(register(db, name), sample=BUSY)]))
    for table in ("worker_event", "worker_sample"):
        db.execute(text(f"UPDATE edge.{table} SET at = now() - interval '3 h' WHERE worker_name = 'w1'"))
    for purge in (retention.worker_events(2 * HOUR), retention.worker_samples(2 * HOUR)):
        assert [one(db, purge).deleted for _ in range(2)] == [1, 0]
    assert (kinds(db, "w2"), len(rows(db, history.samples("w2", HOUR)))) == (["connected"], 1)
