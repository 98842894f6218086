"""The commands that an installation repeats: `db wait`, `db grant-role`, `credential ensure`."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy.engine import make_url

from edge_api.identity import tokens
from edge_store.database import engine
from edge_store.schema import migrate
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import Done, edge_api


def credential_file(folder: Path, token: tokens.Token) -> Path:
    file = folder / "credential"
    file.write_text(f"{token.text}\n")
    return file


def ensure(db: Db, file: Path, role: str = "admin") -> Done:
    return edge_api(db.url, "credential", "ensure", "--role", role, "--label", "operator", "--secret-file", str(file))


def test_a_given_credential_is_made_once(db: Db, tmp_path: Path) -> None:
    token = tokens.mint(tokens.ADMIN)
    file = credential_file(tmp_path, token)
    made, again = ensure(db, file), ensure(db, file)
    assert (made.stdout, again.stdout) == (f"credential {token.id} is created\n", f"credential {token.id} is valid\n")
    (row,) = db.rows("SELECT * FROM edge.credential")
    assert (row.id, row.role, row.label, token.matches(row.secret_hash)) == (token.id, "admin", "operator", True)
    trail = db.rows("SELECT * FROM edge.audit")
    assert [entry.action for entry in trail] == ["credential.create"]
    assert token.secret not in str(trail)


def test_a_credential_that_is_no_longer_valid_is_reported(db: Db, tmp_path: Path) -> None:
    token = tokens.mint(tokens.ADMIN)
    file = credential_file(tmp_path, token)
    ensure(db, file)
    edge_api(db.url, "credential", "revoke", str(token.id))
    done = ensure(db, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is revoked or expired" in done.stderr


def test_another_secret_of_the_same_id_or_another_role_is_refused(db: Db, tmp_path: Path) -> None:
    token = tokens.mint(tokens.ADMIN)
    ensure(db, credential_file(tmp_path, token))
    other = tokens.Token(token.kind, token.id, secrets.token_urlsafe(32))
    for file, role in ((credential_file(tmp_path, token), "read"), (credential_file(tmp_path, other), "admin")):
        done = ensure(db, file, role)
        assert done.returncode == 2
        assert "another credential" in done.stderr
        assert other.secret not in done.stderr


@pytest.mark.parametrize(
    "content", ["", "hello", f"edgej_{UUID(int=1).hex}_{'x' * 43}", f"edgea_{UUID(int=1).hex}_short"]
)
def test_a_file_without_a_credential_is_refused(db: Db, tmp_path: Path, content: str) -> None:
    file = tmp_path / "credential"
    file.write_text(content)
    done = ensure(db, file)
    assert done.returncode == 2
    assert "holds no credential" in done.stderr


def test_a_missing_file_is_reported(db: Db, tmp_path: Path) -> None:
    done = ensure(db, tmp_path / "missing")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.fixture
def role(db: Db) -> Iterator[str]:
    name = f"api_{uuid4().hex[:8]}"
    yield make_url(db.url).set(username=name, password="secret").render_as_string(hide_password=False)
    if db.rows(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
        db.rows(f"DROP OWNED BY {name}")
        db.rows(f"DROP ROLE {name}")


def test_the_role_is_granted_and_then_waited_for(db: Db, role: str) -> None:
    with waiter(role) as waiting:
        assert waiting.stderr is not None
        assert "waiting" in waiting.stderr.readline()
        done = edge_api(db.url, "db", "grant-role", EDGE_API_ROLE_URL=role)
        assert done.returncode == 0, done.stderr
        assert waiting.wait(20) == 0


def test_no_url_for_the_role(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_API_ROLE_URL", raising=False)
    done = edge_api(db.url, "db", "grant-role")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "EDGE_API_ROLE_URL" in done.stderr


def test_waiting_for_the_schema_says_what_lacks_once(empty_database: str) -> None:
    with waiter(empty_database) as waiting:
        assert waiting.stderr is not None
        assert "schema version none" in waiting.stderr.readline()
        with engine.make_engine(empty_database).begin() as connection:
            migrate.upgrade(connection)
        assert waiting.wait(20) == 0
        assert waiting.stderr.read() == ""


def test_waiting_for_the_server_needs_no_schema(empty_database: str) -> None:
    assert edge_api(empty_database, "db", "wait", "--server").returncode == 0


def test_waiting_ends(db: Db) -> None:
    nowhere = make_url("postgresql://user:hidden@127.0.0.1:1/airflow").render_as_string(hide_password=False)
    done = edge_api(nowhere, "db", "wait", "--timeout", "1s")
    assert done.returncode == 2
    assert "127.0.0.1:1/airflow can't be reached" in done.stderr
    assert "hidden" not in done.stderr


def waiter(url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edge_api", "db", "wait", "--timeout", "1m"]
    return subprocess.Popen(command, env={"EDGE_API_DATABASE_URL": url}, stderr=subprocess.PIPE, text=True)
