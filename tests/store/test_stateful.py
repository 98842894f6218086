"""The random life of a fleet in the real store: the invariants of workers and jobs always hold.

Each life is one transaction, which is rolled back. Time stands still in a transaction, so all stored times are moved
back instead of the clock forward.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, text

from edge_protocol import Desired, Observed, WorkerState, worker_state
from edge_protocol.job_state import HELD_STATES, TRANSITIONS, JobState
from edge_store.database import engine
from edge_store.database.statement import RowT, Statement, first, rows, run
from edge_store.jobs import claims, leases, scheduling
from edge_store.schema import platform
from edge_store.workers import agents, requests, worker_views

INTERVAL = timedelta(seconds=10)
WINDOW = 3 * INTERVAL
STALL = timedelta(seconds=5)
ACCEPT = timedelta(seconds=10)
NAMES = ("a", "b", "c")
SLOTS = 3

names = st.sampled_from(NAMES)
actions = st.sampled_from(["maintenance", "exit", "shutdown", "cancel", "cordon", "uncordon"])
rarely = st.integers(0, 4).map(lambda drawn: drawn == 4)

ALLOWED = {(before, after) for (before, _), after in TRANSITIONS.items()}
"""Steps of a job that the protocol allows; the statements decide them."""


class Fleet(RuleBasedStateMachine):
    """Workers that come, go and misbehave; administrators; a scheduler; dispatchers."""

    connection: ClassVar[Connection]

    def __init__(self) -> None:
        super().__init__()
        self.db = self.connection
        self.transaction = self.db.begin()
        self.identity = {name: uuid4() for name in NAMES}
        self.session: dict[str, UUID] = {}
        self.leases: dict[UUID, tuple[UUID, str]] = {}
        """Every lease ever granted: its job and worker."""
        self.finished: set[UUID] = set()
        """Leases whose report was taken as fresh."""
        self.states: dict[UUID, JobState] = {}
        """The state of each job after the last step."""

    def teardown(self) -> None:
        self.transaction.rollback()

    def rows(self, statement: Statement[RowT]) -> list[RowT]:
        return rows(self.db, statement)

    def view(self, name: str) -> worker_views.WorkerRow | None:
        return first(self.db, worker_views.one_worker(name))

    # ---- workers ----

    @initialize()
    def first_worker(self) -> None:
        self.start("a", new_identity=False)

    @rule(name=names, new_identity=rarely)
    def start(self, name: str, new_identity: bool) -> None:
        """A worker starts or restarts; sometimes it was enrolled again."""
        before = self.view(name)
        identity = uuid4() if new_identity else self.identity[name]
        session = uuid4()
        new = agents.Registration(name, identity, None, ["q"], SLOTS, session, uuid4(), None, {})
        taken = self.rows(agents.register(new, WINDOW))
        alive = before is not None and not before.offline and before.now - before.last_heartbeat <= WINDOW
        assert bool(taken) or (alive and before is not None and before.identity != identity)
        if taken:
            assert not alive or before is None or before.identity == identity
            self.identity[name], self.session[name] = identity, session

    @rule(name=names, active=st.integers(0, SLOTS), acknowledged=rarely, terminating=rarely)
    def heartbeat(self, name: str, active: int, acknowledged: bool, terminating: bool) -> None:
        beat = agents.Beat(name, self.session.get(name, uuid4()), active, SLOTS - active, acknowledged, terminating, {})
        rows(self.db, agents.heartbeats([beat]))

    @rule(name=names)
    def bye(self, name: str) -> None:
        run(self.db, agents.disconnect(name, self.session.get(name, uuid4())))

    # ---- administrators ----

    @rule(name=names, action=actions)
    def administer(self, name: str, action: str) -> None:
        self.set_desired(name, action)

    def set_desired(self, name: str, action: str) -> None:
        statements: dict[str, Statement[Any]] = {
            "maintenance": requests.enter_maintenance([name], "why", "me"),
            "exit": requests.exit_maintenance([name]),
            "shutdown": requests.shut_down([name]),
            "cancel": requests.cancel_shutdown([name]),
            "cordon": agents.set_cordon_reasons({name: "too old"}),
            "uncordon": agents.set_cordon_reasons({name: None}),
        }
        self.rows(statements[action])

    @rule(name=names)
    def remove(self, name: str) -> None:
        before = self.view(name)
        removed = self.rows(requests.remove([name]))
        assert bool(removed) == (before is not None and (before.offline or before.lost))

    # ---- jobs ----

    @rule(count=st.integers(1, 4))
    def enqueue(self, count: int) -> None:
        self.enqueue_some(count)

    def enqueue_some(self, count: int) -> None:
        for _ in range(count):
            new = scheduling.NewJob(uuid4(), "task", "q", None, 1, 1, 1, "{}", "p", "d", "t", "r", -1, 1, "1")
            run(self.db, scheduling.enqueue(new))

    @precondition(lambda self: self.session)
    @rule(data=st.data(), stale=rarely, meanwhile=st.none() | actions)
    def claim(self, data: st.DataObject, stale: bool, meanwhile: str | None) -> None:
        """A dispatcher claims for a worker, perhaps with an old session or just after its desired state changed."""
        name = data.draw(st.sampled_from(sorted(self.session)))
        if meanwhile is not None:
            self.set_desired(name, meanwhile)
        candidates = claims.candidates([claims.Demand("q", None, SLOTS, SLOTS, 2)])
        found = self.rows(candidates)
        if not found:
            self.enqueue_some(2)
            found = self.rows(candidates)
        session = uuid4() if stale else self.session[name]
        before = self.view(name)
        picks = [claims.Pick(row.id, name, session, uuid4()) for row in found]
        given = self.rows(claims.claim(picks, ACCEPT))
        allowed = (
            before is not None
            and before.session_id == session
            and not (before.maintenance or before.shutdown or before.maintenance_acknowledged)
            and not (before.terminating or before.offline or before.cordon_reason)
        )
        assert len(given) == (len(picks) if allowed else 0)
        for row in given:
            assert row.lease_id not in self.leases
            self.leases[row.lease_id] = (row.id, name)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), thief=rarely)
    def accept(self, data: st.DataObject, thief: bool) -> None:
        lease, (job, holder), good = self.pick_lease(data)
        who = "thief" if thief else holder
        taken = self.rows(leases.accept([leases.HeldLease(lease, who)]))
        assert bool(taken) == (good and not thief), job

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed"]), thief=rarely)
    def report(self, data: st.DataObject, outcome: Any, thief: bool) -> None:
        lease, (_, holder), good = self.pick_lease(data)
        who = "thief" if thief else holder
        answers = self.rows(leases.report([leases.JobReport(lease, who, outcome, 0, None)]))
        fresh = [row.result == "finished" for row in answers]
        if good and not thief:
            assert fresh == [True]
            self.finished.add(lease)
        else:
            assert fresh in ([], [False])
            assert not (fresh and thief)

    def pick_lease(self, data: st.DataObject) -> tuple[UUID, tuple[UUID, str], bool]:
        """Return a lease that was granted once, and whether it still holds its job."""
        lease = data.draw(st.sampled_from(sorted(self.leases)))
        holding = text("SELECT 1 FROM edge.job WHERE lease_id = :lease AND state IN ('leased', 'running')")
        return lease, self.leases[lease], bool(self.db.execute(holding.bindparams(lease=lease)).all())

    # ---- time ----

    @rule(seconds=st.sampled_from([1, 11, 31, 3600]))
    def time_passes(self, seconds: int) -> None:
        step = timedelta(seconds=seconds)
        self.db.execute(text("UPDATE edge.worker SET last_heartbeat = last_heartbeat - :s").bindparams(s=step))
        expiry = text("UPDATE edge.job SET lease_expires_at = lease_expires_at - :s WHERE state = 'leased'")
        self.db.execute(expiry.bindparams(s=step))

    @rule()
    def keep_house(self) -> None:
        run(self.db, platform.canary(STALL))
        rows(self.db, agents.lose_silent(WINDOW, STALL))
        rows(self.db, leases.requeue_expired())

    # ---- what always holds ----

    @invariant()
    def workers_have_a_state(self) -> None:
        for row in self.rows(worker_views.workers("", 10)):
            observed = Observed(
                row.last_heartbeat, INTERVAL, row.initialised, row.jobs_active, row.maintenance_acknowledged,
                row.terminating, row.offline,
            )  # fmt: skip
            state = worker_state(Desired(row.maintenance, row.shutdown), observed, row.now)
            assert state in WorkerState
            if row.maintenance and not (row.shutdown or row.terminating):
                assert "maintenance" in state.value

    @invariant()
    def a_job_has_one_holder_under_the_last_lease(self) -> None:
        held: set[UUID] = set()
        for row in self.db.execute(text("SELECT id, state, lease_id, worker_name, workload FROM edge.job")):
            if row.state in HELD_STATES:
                assert self.leases[row.lease_id] == (row.id, row.worker_name)
                assert row.lease_id not in held | self.finished
                held.add(row.lease_id)
            assert (row.workload is None) == (row.state in set(JobState) - HELD_STATES - {JobState.QUEUED})

    @invariant()
    def jobs_change_as_the_protocol_allows(self) -> None:
        for row in self.db.execute(text("SELECT id, state FROM edge.job")):
            before, after = self.states.get(row.id, JobState.QUEUED), JobState(row.state)
            assert before is after or (before, after) in ALLOWED
            self.states[row.id] = after

    @invariant()
    def a_lease_is_reported_once(self) -> None:
        by_job = [self.leases[lease][0] for lease in self.finished]
        assert len(by_job) == len(set(by_job))


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with engine.make_engine(database).connect() as opened:
        yield opened


@pytest.mark.parametrize("lives", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_random_lives_of_a_fleet(connection: Connection, lives: int) -> None:
    Fleet.connection = connection
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=lives,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
