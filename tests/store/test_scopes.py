"""What a scope covers: the rule in Python, and statements that follow the same rule."""

import fnmatch
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from edge_store.database.statement import rows, run
from edge_store.identity import audit, credentials
from edge_store.identity.scopes import WHOLE, Scope, lists
from edge_store.jobs import claims, job_views, scheduling
from edge_store.workers import agents, changes, requests, worker_views
from edge_testing.database.records import one

NAMES = ["plant-1", "plant-2", "plant", "plantage-1", "shop-1"]
TEAMS = [None, "red", "blue"]
SCOPES = [
    WHOLE,
    Scope("plant-*"),
    Scope("plant-1"),
    Scope("p*", "red"),
    Scope(None, "red", ("a", "b")),
    Scope("plant-*", "blue", ("a",)),
    Scope("shop-*", None, ("b", "c")),
    Scope(connections=("db",), variables=()),
]
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@given(
    prefix=st.text("ab-", min_size=1, max_size=3),
    glob=st.text("ab-*?[]!", min_size=1, max_size=6),
    name=st.text("ab-", min_size=1, max_size=6),
)
@example(prefix="a", glob="a[", name="a[")
@example(prefix="a", glob="[a]b", name="ab")
def test_no_name_of_a_covered_glob_is_outside_of_the_scope(prefix: str, glob: str, name: str) -> None:
    for pattern in (f"{prefix}*", prefix):
        scope = Scope(pattern)
        if scope.covers_name(glob) and fnmatch.fnmatchcase(name, glob):
            assert scope.covers_name(name)
            assert fnmatch.fnmatchcase(name, pattern)


def test_queues_and_teams() -> None:
    scope = Scope("plant-*", "red", ("a", "b"))
    assert [scope.covers_queues(queues) for queues in (["a"], [], ["a", "c"], None)] == [True, True, False, False]
    assert [scope.covers_team(team) for team in TEAMS] == [False, True, False]
    assert not scope.covers_worker("shop-1", "red")
    assert WHOLE.covers_queues(None)
    assert [scope.whole, Scope("*").covers_name("shop-1"), WHOLE.whole] == [False, True, True]


@given(
    allowed=st.none()
    | st.lists(st.builds(str.__add__, st.text("ab", min_size=1, max_size=3), st.sampled_from(["", "*"]))),
    pattern=st.text("ab", max_size=3),
    more=st.text("ab", max_size=3),
)
def test_a_list_that_covers_a_pattern_covers_each_of_its_names(
    allowed: list[str] | None, pattern: str, more: str
) -> None:
    if lists(allowed, f"{pattern}*"):
        assert lists(allowed, pattern + more)


def test_names_limit_what_is_granted_and_not_which_workers() -> None:
    names = Scope(connections=("db",))
    assert (names.whole, names.whole_fleet, WHOLE.whole_fleet, Scope("plant-*").whole_fleet) == (
        False,
        True,
        True,
        False,
    )
    assert names.covers_worker("any", None)
    assert [lists(allowed, "db") for allowed in (None, ["*"], ["d*"], ["db"], ["db*"], ["DB"], ["dbx"], [])] == [
        *[True] * 5,
        *[False] * 3,
    ]


def register(db: Connection, name: str, team: str | None) -> agents.Registration:
    new = agents.Registration(name, uuid4(), team, ["a", "b", "c"], 9, uuid4(), uuid4(), None, {})
    one(db, agents.register(new, timedelta(0)))
    return new


def enqueue(db: Connection, queue: str, team: str | None, worker: agents.Registration | None = None) -> UUID:
    job = scheduling.NewJob(uuid4(), "task", queue, team, 1, 1, 1, "{}", "p", "d", "t", "r", -1, 1, "1")
    run(db, scheduling.enqueue(job))
    if worker is not None:
        pick = claims.Pick(job.id, worker.name, worker.session_id, uuid4())
        assert rows(db, claims.claim([pick], timedelta(seconds=10)))
    return job.id


@pytest.mark.parametrize("scope", SCOPES)
def test_workers_their_jobs_and_their_tombstones(db: Connection, scope: Scope) -> None:
    its_workers, its_jobs = [], set()
    for number, name in enumerate(NAMES):
        team = TEAMS[number % 3]
        worker = register(db, name, team)
        held = enqueue(db, "a", team, worker)
        if scope.covers_worker(name, team):
            its_workers.append(name)
            its_jobs.add(held)
    for queue in "abc":
        for team in TEAMS:
            waiting = enqueue(db, queue, team)
            if scope.covers_team(team) and scope.covers_queues([queue]):
                its_jobs.add(waiting)
    assert [row.name for row in rows(db, worker_views.workers("", 99, scope=scope))] == sorted(its_workers)
    assert {row.name for row in rows(db, worker_views.within([*NAMES, "nobody"], scope))} == set(its_workers)
    for name in NAMES:
        assert bool(rows(db, worker_views.one_worker(name, scope))) == (name in its_workers)
    assert {row.id for row in rows(db, job_views.jobs(99, scope=scope))} == its_jobs
    assert all(rows(db, job_views.one_job(job, scope)) for job in its_jobs)
    depths = {row.queue: row.depth for row in rows(db, job_views.queue_depths(scope))}
    teams = [team for team in TEAMS if scope.covers_team(team)]
    assert depths == {queue: len(teams) for queue in "abc" if scope.covers_queues([queue])}
    traffic = rows(db, job_views.queue_traffic(timedelta(minutes=5), scope))
    assert sum(row.arrived for row in traffic) == len(its_jobs)
    groups = rows(db, worker_views.fleet_groups(timedelta(seconds=30), scope))
    assert sum(group.workers for group in groups) == len(its_workers)
    assert sum(group.slots_used for group in groups) == len(its_workers)
    waiting_jobs = sum(depths.values())
    assert one(db, job_views.held_jobs(scope)).jobs == len(its_jobs) - waiting_jobs


def test_a_tombstone_names_the_team(db: Connection) -> None:
    register(db, "plant-1", "red")
    db.execute(text("UPDATE edge.worker SET offline = true"))
    rows(db, requests.remove(["plant-1"]))
    assert [(row.name, row.team) for row in rows(db, changes.removed_since(1))] == [("plant-1", "red")]


@pytest.mark.parametrize("scope", SCOPES)
def test_credentials_and_join_tokens(db: Connection, scope: Scope) -> None:
    its_tokens, its_credentials = set(), set()
    for pattern in ("plant-*", "plant-1", "plant-[12]", "pl*", "*", "?lant-1", "shop-9"):
        for team in TEAMS:
            for queues in (None, ["a"], ["a", "c"]):
                inside = scope.covers_name(pattern) and scope.covers_team(team) and scope.covers_queues(queues)
                token = credentials.NewJoinToken(uuid4(), b"h", pattern, queues, team, 1, TOMORROW)
                run(db, credentials.add_join_token(token))
                its_tokens |= {token.id} if inside else set()
                if pattern.rstrip("*").replace("-", "").isalnum():
                    its_credentials |= {add(db, "read", None, pattern, team, queues)} if inside else set()
                    if not inside:
                        add(db, "read", None, pattern, team, queues)
    for name in NAMES:
        for team in TEAMS:
            made = add(db, "worker", name, None, team, None)
            its_credentials |= {made} if scope.covers_worker(name, team) else set()
    unbound = add(db, "admin", None, None, None, None)
    its_credentials |= {unbound} if scope.whole_fleet else set()
    assert {row.id for row in rows(db, credentials.join_tokens(999, scope=scope))} == its_tokens
    listed = {row.id for row in rows(db, credentials.credentials(999, scope=scope))}
    assert listed == its_credentials
    for row in rows(db, credentials.credentials(999)):
        assert bool(rows(db, credentials.one_credential(row.id, scope))) == (row.id in its_credentials)
        assert bool(rows(db, credentials.revoke(row.id, scope))) == (row.id in its_credentials)
    for listed_token in rows(db, credentials.join_tokens(999)):
        revoked = rows(db, credentials.revoke_join_token(listed_token.id, scope))
        assert bool(revoked) == (listed_token.id in its_tokens)


def add(
    db: Connection,
    role: Literal["worker", "admin", "read"],
    worker: str | None,
    pattern: str | None,
    team: str | None,
    queues: list[str] | None,
) -> UUID:
    identity = None if worker is None else uuid4()
    new = credentials.NewCredential(
        uuid4(),
        b"h",
        role,
        worker,
        identity,
        team,
        queues,
        TOMORROW,
        worker_pattern=pattern,
    )
    run(db, credentials.add_credential(new))
    return new.id


@pytest.mark.parametrize("scope", SCOPES)
def test_the_audit_trail(db: Connection, scope: Scope) -> None:
    expected = set()
    for number, name in enumerate(NAMES):
        team = TEAMS[number % 3]
        add(db, "worker", name, None, team, None)
        run(db, audit.add([audit.NewAudit("x", "worker.enroll", f"worker/{name}")]))
        expected |= {f"worker/{name}"} if scope.covers_worker(name, team) else set()
    for other in ("token/1", "credential/-", "plant-1", "worker/"):
        run(db, audit.add([audit.NewAudit("x", "y", other)]))
        expected |= {other} if scope.whole_fleet else set()
    assert {row.object for row in rows(db, audit.entries(99, scope=scope))} == expected


def test_the_audit_trail_of_a_name_that_another_team_has_now(db: Connection) -> None:
    add(db, "worker", "plant-1", None, "red", None)
    run(db, audit.add([audit.NewAudit("x", "worker.enroll", "worker/plant-1")]))
    assert len(rows(db, audit.entries(9, scope=Scope("plant-*", "red")))) == 1
    register(db, "plant-1", "blue")
    assert rows(db, audit.entries(9, scope=Scope("plant-*", "red"))) == []


@pytest.mark.parametrize("pattern", ["", "*", "pl?nt", "a*b", "a**", "[a]*", "-a*"])
def test_the_schema_refuses_patterns_that_are_no_prefix(db: Connection, pattern: str) -> None:
    with pytest.raises(IntegrityError, match="worker_pattern_is_a_prefix"):
        add(db, "admin", None, pattern, None, None)


def test_the_schema_refuses_a_pattern_on_a_worker(db: Connection) -> None:
    with pytest.raises(IntegrityError, match="worker_role_has_no_pattern"):
        add(db, "worker", "plant-1", "plant-*", None, None)
