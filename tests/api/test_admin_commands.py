"""`edge-api` commands for tokens, credentials and jobs, which need the database but no running API."""

import json
from uuid import uuid4

import pytest
import yaml

from edge_api.identity import tokens
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import edge_api, join_token
from edge_testing.edge_api.credentials import worker_credential


def run(db: Db, *arguments: str) -> str:
    done = edge_api(db.url, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tokens(db: Db) -> None:
    token = tokens.parse(
        join_token(db.url, "--name-pattern", "plant-*", "--queues", "a,b", "--uses", "3"), tokens.JOIN_TOKEN
    )
    assert token is not None
    (listed,) = json.loads(run(db, "token", "list", "-o", "json"))
    assert (listed["worker_pattern"], listed["queues"], listed["uses_left"]) == ("plant-*", ["a", "b"], 3)
    assert yaml.safe_load(run(db, "token", "list", "-o", "yaml")) == [listed]
    head, line = run(db, "token", "list").splitlines()
    assert (head.split()[:2], line.split()[1:3]) == (["id", "worker_pattern"], ["plant-*", "a,b"])
    assert run(db, "token", "list", "-o", "plain").split() == line.split()
    assert token.secret not in str(listed)
    run(db, "token", "revoke", listed["id"])
    assert json.loads(run(db, "token", "list", "-o", "json"))[0]["revoked_at"] is not None
    actions = [row.action for row in db.rows("SELECT action FROM edge.audit ORDER BY id")]
    assert actions == ["token.create", "token.revoke"]


def test_credentials(db: Db) -> None:
    printed = run(db, "credential", "create", "--role", "read", "--label", "grafana", "--expires", "7d")
    token = tokens.parse(printed.strip(), tokens.ADMIN)
    assert token is not None
    worker_credential(db, "w1")
    rows = json.loads(run(db, "credential", "list", "-o", "json"))
    assert {(row["role"], row["label"], row["worker"]) for row in rows} == {
        ("read", "grafana", None),
        ("worker", None, "w1"),
    }
    assert len(json.loads(run(db, "credential", "list", "--worker", "w1", "-o", "json"))) == 1
    run(db, "credential", "revoke", str(token.id))
    assert run(db, "worker", "revoke", "w1") == "credentials of worker w1 revoked: 1\n"
    assert db.rows("SELECT count(*) AS n FROM edge.credential WHERE revoked_at IS NULL")[0].n == 0
    trail = str(db.rows("SELECT * FROM edge.audit"))
    assert "command line" in trail
    assert token.secret not in trail


def test_explain(db: Db) -> None:
    (job,) = db.enqueue(queue="press")
    assert run(db, "jobs", "explain", str(job)).startswith("no_worker: No worker serves the queue press.")
    assert json.loads(run(db, "jobs", "explain", str(job), "-o", "json"))["verdict"] == "no_worker"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("token", "revoke", "x"), "'x' is not an id"),
        (("token", "revoke", str(uuid4())), "no join token"),
        (("credential", "revoke", str(uuid4())), "no credential"),
        (("credential", "create", "--role", "worker"), "invalid choice"),
        (("credential", "create", "--role", "admin", "--label", ""), "label"),
        (("credential", "create", "--role", "admin", "--expires", "0d"), "not a time"),
        (("worker", "revoke", "nobody"), "No worker nobody"),
        (("jobs", "explain", str(uuid4())), "no job"),
        (("token", "list", "-o", "xml"), "invalid choice"),
    ],
)
def test_bad_input(db: Db, arguments: tuple[str, ...], said: str) -> None:
    done = edge_api(db.url, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
