"""No statement of the edge API waits for a job that another transaction has locked (ADR 0029)."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from edge_store import retention
from edge_store.database import engine
from edge_store.database.statement import rows, run
from edge_store.jobs import claims, leases, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, requests
from edge_testing.database.records import SECOND, claim, new_job, register, report

NOTHING = timedelta(0)


class Fleet:
    """A worker with two leases, running or not yet accepted; a scheduler has locked the first job."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.worker = register(db)
        self.jobs = [new_job(), new_job()]
        self.leases = [self._lease(job) for job in self.jobs]

    def _lease(self, job: scheduling.NewJob) -> UUID:
        run(self.db, scheduling.enqueue(job))
        lease = claim(self.db, job, self.worker)
        assert lease
        return lease

    @property
    def held(self) -> list[leases.HeldLease]:
        return [leases.HeldLease(lease, self.worker.name) for lease in self.leases]

    def states(self) -> list[str]:
        found = {row.id: row.state for row in self.db.execute(text("SELECT id, state FROM edge.job"))}
        return [found[job.id] for job in self.jobs]

    def age(self) -> None:
        """Let everything look an hour old, but for the proof that the database takes writes."""
        hour = "now() - interval '1 hour'"
        self.db.execute(text(f"UPDATE edge.worker SET last_heartbeat = {hour}"))
        self.db.execute(text(f"UPDATE edge.job SET lease_expires_at = {hour} WHERE state = 'leased'"))
        run(self.db, platform.canary(5 * SECOND))


@pytest.fixture
def fleet(db: Connection) -> Fleet:
    # Whatever waits for a lock fails.
    db.execute(text("SET lock_timeout = '100ms'"))
    return Fleet(db)


@pytest.fixture
def scheduler(db: Connection) -> Iterator[Connection]:
    """Another connection, in a transaction that ends with the test."""
    with engine.make_engine(db.engine.url.render_as_string(hide_password=False)).connect() as connection:
        yield connection


def lock(fleet: Fleet, scheduler: Connection) -> None:
    """Store what the fleet has, and queue its first job again in a transaction that stays open."""
    fleet.db.commit()
    run(scheduler, scheduling.enqueue(fleet.jobs[0]))


def run_all(fleet: Fleet) -> None:
    rows(fleet.db, leases.accept(fleet.held))


def test_accepts(fleet: Fleet, scheduler: Connection) -> None:
    lock(fleet, scheduler)
    found = {row.lease_id: row.locked for row in rows(fleet.db, leases.accept(fleet.held))}
    assert found == {fleet.leases[0]: True, fleet.leases[1]: False}
    scheduler.commit()
    # The job is queued again, so the lease is void.
    assert [row.lease_id for row in rows(fleet.db, leases.accept(fleet.held))] == fleet.leases[1:]


def test_reports(fleet: Fleet, scheduler: Connection) -> None:
    lock(fleet, scheduler)
    reports = [report(lease, "w1") for lease in fleet.leases]
    found = {row.lease_id: row.result for row in rows(fleet.db, leases.report(reports))}
    assert found == {fleet.leases[0]: "locked", fleet.leases[1]: "finished"}
    scheduler.rollback()
    found = {row.lease_id: row.result for row in rows(fleet.db, leases.report(reports))}
    assert found == {fleet.leases[0]: "finished", fleet.leases[1]: "repeated"}


def test_losses(fleet: Fleet, scheduler: Connection) -> None:
    run_all(fleet)
    lock(fleet, scheduler)
    losses = [leases.Loss(lease, fleet.worker.session_id, "gone") for lease in fleet.leases]
    found = {row.lease_id: row.locked for row in rows(fleet.db, leases.lose(losses))}
    assert found == {fleet.leases[0]: True, fleet.leases[1]: False}
    assert fleet.states() == ["running", "lost"]


def test_a_worker_that_stops(fleet: Fleet, scheduler: Connection) -> None:
    rows(fleet.db, leases.accept(fleet.held[:1]))
    lock(fleet, scheduler)
    found = {
        row.id: (row.state, row.locked) for row in rows(fleet.db, leases.give_up("w1", fleet.worker.session_id, ""))
    }
    assert found == {fleet.jobs[0].id: ("running", True), fleet.jobs[1].id: ("queued", False)}


def test_claims_that_return_to_their_queue(fleet: Fleet, scheduler: Connection) -> None:
    fleet.age()
    lock(fleet, scheduler)
    assert [row.id for row in rows(fleet.db, leases.release(fleet.leases))] == [fleet.jobs[1].id]
    assert rows(fleet.db, leases.requeue_expired()) == []
    scheduler.rollback()
    assert [row.id for row in rows(fleet.db, leases.requeue_expired())] == [fleet.jobs[0].id]


def test_a_silent_worker_waits_for_the_next_pass(fleet: Fleet, scheduler: Connection) -> None:
    run_all(fleet)
    fleet.age()
    lock(fleet, scheduler)
    assert rows(fleet.db, agents.lose_silent(30 * SECOND, 5 * SECOND)) == []
    assert fleet.states() == ["running", "running"]
    scheduler.commit()
    [lost] = rows(fleet.db, agents.lose_silent(30 * SECOND, 5 * SECOND))
    assert (lost.jobs, fleet.states()) == (1, ["queued", "lost"])


def test_a_removed_worker(fleet: Fleet, scheduler: Connection) -> None:
    run_all(fleet)
    fleet.db.execute(text("UPDATE edge.worker SET lost = true"))
    lock(fleet, scheduler)
    assert rows(fleet.db, requests.remove(["w1"])) == []
    scheduler.rollback()
    assert [row.name for row in rows(fleet.db, requests.remove(["w1"]))] == ["w1"]
    assert fleet.states() == ["lost", "lost"]


def test_candidates_and_retention(fleet: Fleet, scheduler: Connection) -> None:
    rows(fleet.db, leases.release(fleet.leases))
    lock(fleet, scheduler)
    demand = claims.Demand("default", None, 1, 4, 4)
    assert [row.id for row in rows(fleet.db, claims.candidates([demand]))] == [fleet.jobs[1].id]
    [deleted] = rows(fleet.db, retention.orphaned_jobs(NOTHING))
    assert deleted.deleted <= 1
