"""Join tokens, credentials, rotation, revocation, and claims within a credential's scopes."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text

from edge_store.database.statement import rows, run
from edge_store.identity import credentials
from edge_store.jobs import claims, scheduling
from edge_store.workers import agents
from edge_testing.database.records import one

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def add(db: Connection, **values: Any) -> credentials.NewCredential:
    new = credentials.NewCredential(uuid4(), b"h", "worker", "w1", uuid4(), None, None, datetime.now(UTC) + DAY)
    new = dataclasses.replace(new, **values)
    run(db, credentials.add_credential(new))
    return new


def get(db: Connection, credential_id: UUID) -> credentials.CredentialSecret:
    return one(db, credentials.get_credential(credential_id))


def test_lists_page_from_the_newest_on_and_hold_no_hash(db: Connection) -> None:
    ids = [add(db, worker_name=f"w{n}").id for n in range(3)]
    for n, credential_id in enumerate(ids):
        db.execute(
            text(
                "UPDATE edge.credential SET created_at = now() + make_interval(hours => :n) WHERE id = :id"
            ).bindparams(n=n, id=credential_id)
        )
    newest = rows(db, credentials.credentials(2))
    assert [row.id for row in newest] == [ids[2], ids[1]]
    assert "secret_hash" not in newest[0]._fields
    last = newest[-1]
    assert [row.id for row in rows(db, credentials.credentials(2, (last.created_at, last.id)))] == [ids[0]]
    assert [row.id for row in rows(db, credentials.credentials(9, worker="w1"))] == [ids[1]]


def test_join_tokens_are_listed_and_revoked(db: Connection) -> None:
    new = credentials.NewJoinToken(uuid4(), b"h", "*", None, None, 2, datetime.now(UTC) + DAY)
    run(db, credentials.add_join_token(new))
    (row,) = rows(db, credentials.join_tokens(9))
    assert (row.id, row.uses_left, "secret_hash" in row._fields) == (new.id, 2, False)
    assert rows(db, credentials.join_tokens(9, (row.created_at, row.id))) == []
    assert one(db, credentials.revoke_join_token(new.id)).revoked_at is not None
    assert rows(db, credentials.revoke_join_token(uuid4())) == []
    assert rows(db, credentials.use_join_token(new.id)) == []


def test_only_the_first_revocation_returns_the_credential(db: Connection) -> None:
    one, other, foreign = add(db), add(db), add(db, worker_name="w2")
    assert [row.id for row in rows(db, credentials.revoke(one.id))] == [one.id]
    assert rows(db, credentials.revoke(one.id)) == []
    assert [row.id for row in rows(db, credentials.revoke_of_worker("w1"))] == [other.id]
    assert get(db, foreign.id).revoked_at is None


def test_rotation_keeps_identity_and_scopes_and_ends_the_old_one(db: Connection) -> None:
    old = add(db, team="blue", queues=["a"], label="x", connections=["db", "press_*"], variables=[])
    successor, expiry = uuid4(), datetime.now(UTC) + 90 * DAY
    row = one(db, credentials.rotate(old.id, successor, b"n", expiry, HOUR))
    new, was = get(db, successor), one(db, credentials.one_credential(old.id))
    assert (new.identity, new.team, new.queues, new.label, new.secret_hash) == (old.identity, "blue", ["a"], "x", b"n")
    assert (new.connections, new.variables) == (["db", "press_*"], [])
    assert was.rotated_at is not None
    assert was.expires_at == row.previous_valid_until == was.rotated_at + HOUR
    assert (was.rotated_to, was.revoked_at) == (successor, None)


def test_repeated_rotation_revokes_the_successor_nobody_received(db: Connection) -> None:
    old, first, second, expiry = add(db), uuid4(), uuid4(), datetime.now(UTC) + DAY
    ends = [
        one(db, credentials.rotate(old.id, new, b"n", expiry, HOUR)).previous_valid_until for new in (first, second)
    ]
    assert ends[0] == ends[1]
    assert get(db, first).revoked_at is not None
    assert get(db, second).revoked_at is None


def test_a_credential_near_its_end_is_not_made_longer_by_rotation(db: Connection) -> None:
    old = add(db, expires_at=datetime.now(UTC) + timedelta(minutes=1))
    row = one(db, credentials.rotate(old.id, uuid4(), b"n", datetime.now(UTC) + DAY, HOUR))
    assert row.previous_valid_until == old.expires_at


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
def test_an_invalid_credential_is_not_rotated(db: Connection, change: str) -> None:
    old, new = add(db), uuid4()
    db.execute(text(f"UPDATE edge.credential SET {change}"))
    assert rows(db, credentials.rotate(old.id, new, b"n", datetime.now(UTC) + DAY, HOUR)) == []
    assert rows(db, credentials.get_credential(new)) == []


@pytest.mark.parametrize(
    ("change", "given"),
    [
        ("queues = '{default}'", True),
        ("queues = NULL", True),
        ("queues = '{other}'", False),
        ("team = 'blue'", False),
        ("revoked_at = now()", False),
        ("expires_at = now()", False),
    ],
)
def test_claims_go_by_the_scopes_of_the_credential(db: Connection, change: str, given: bool) -> None:
    credential = add(db)
    worker = agents.Registration("w1", uuid4(), None, ["default"], 4, uuid4(), uuid4(), None, {}, credential.id)
    rows(db, agents.register(worker, 30 * timedelta(seconds=1)))
    db.execute(text(f"UPDATE edge.credential SET {change}"))
    job = scheduling.NewJob(uuid4(), "task", "default", None, 1, 1, 1, "{}", "p", "d", "t", "r", -1, 1, "1")
    run(db, scheduling.enqueue(job))
    pick = claims.Pick(job.id, "w1", worker.session_id, uuid4())
    assert bool(rows(db, claims.claim([pick], HOUR))) is given


def test_queues_that_an_administrator_added_need_no_scope(db: Connection) -> None:
    credential = add(db, queues=["a"])
    worker = agents.Registration("w1", uuid4(), None, ["extra"], 4, uuid4(), uuid4(), None, {}, credential.id)
    rows(db, agents.register(worker, 30 * timedelta(seconds=1)))
    db.execute(text("UPDATE edge.worker_desired SET queues_added = '{extra}'"))
    job = scheduling.NewJob(uuid4(), "task", "extra", None, 1, 1, 1, "{}", "p", "d", "t", "r", -1, 1, "1")
    run(db, scheduling.enqueue(job))
    assert rows(db, claims.claim([claims.Pick(job.id, "w1", worker.session_id, uuid4())], HOUR)) != []


def test_rescope_is_for_worker_credentials(db: Connection) -> None:
    worker, admin = add(db), add(db, role="admin", worker_name=None, identity=None)
    assert one(db, credentials.rescope(worker.id, {"queues": ["a"]})).worker_name == "w1"
    assert get(db, worker.id).queues == ["a"]
    assert rows(db, credentials.rescope(admin.id, {"queues": ["a"]})) == []


def test_rescope_leaves_the_lists_alone_that_are_not_given(db: Connection) -> None:
    worker = add(db, queues=["a"], connections=["db"])
    one(db, credentials.rescope(worker.id, {"variables": ["press_*"], "connections": None}))
    found = get(db, worker.id)
    assert (found.queues, found.connections, found.variables) == (["a"], None, ["press_*"])


def test_what_an_administrator_may_grant_is_limited_apart(db: Connection) -> None:
    worker, admin = add(db), add(db, role="admin", worker_name=None, identity=None)
    assert one(db, credentials.limit_grants(admin.id, {"connections": []})).hints == 1
    assert (get(db, admin.id).connections, get(db, admin.id).variables) == ([], None)
    assert rows(db, credentials.limit_grants(worker.id, {"connections": []})) == []
