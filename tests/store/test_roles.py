"""The edge API's database role: its rights and their limits."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from edge_demo.postgres import EmbeddedPostgres
from edge_store.database import engine
from edge_store.errors import RoleError, StoreError
from edge_store.schema import migrate
from edge_store.schema.roles import grant_role


@pytest.fixture
def role_url(postgres: EmbeddedPostgres, database: str) -> Iterator[str]:
    """URL of a role that does not exist yet."""
    name = f"api_{secrets.token_hex(4)}"
    url = make_url(database).set(username=name, password='it\'s 100% "secret"')
    yield url.render_as_string(hide_password=False)
    with engine.make_engine(database).begin() as owner:
        if owner.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name").bindparams(name=name)).first():
            owner.execute(text(f"DROP OWNED BY {name}"))
            owner.execute(text(f"DROP ROLE {name}"))


def grant(database: str, role_url: str) -> None:
    with engine.make_engine(database).begin() as owner:
        grant_role(owner, role_url)


def as_role(role_url: str) -> Connection:
    return engine.connect(engine.make_engine(role_url))


def refused(role_url: str, statement: str) -> bool:
    with as_role(role_url) as connection:
        try:
            connection.execute(text(statement))
        except ProgrammingError as error:
            return "permission denied" in str(error.orig)
    return False


def test_it_has_the_schema_and_nothing_else(database: str, role_url: str) -> None:
    with engine.make_engine(database).begin() as owner:
        owner.execute(text("CREATE TABLE public.connection (password text)"))
        owner.execute(text("CREATE SCHEMA other; CREATE TABLE other.secret (password text)"))
    grant(database, role_url)
    with as_role(role_url) as connection:
        migrate.check(connection)
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'edge'")).scalars().all()
    assert len(tables) > 5
    for table in set(tables) - {"schema_version"}:
        for statement in (f"SELECT 1 FROM edge.{table}", f"DELETE FROM edge.{table}"):
            assert not refused(role_url, statement), statement
    for statement in (
        "SELECT * FROM public.connection",
        "SELECT * FROM other.secret",
        "UPDATE edge.schema_version SET version_num = 'x'",
        "CREATE TABLE edge.mine (id int)",
        "DROP TABLE edge.job",
        "TRUNCATE edge.job",
        "CREATE ROLE mine",
    ):
        assert refused(role_url, statement) or _is_owner_error(role_url, statement), statement


def _is_owner_error(role_url: str, statement: str) -> bool:
    with as_role(role_url) as connection, pytest.raises(ProgrammingError, match="must be owner"):
        connection.execute(text(statement))
    return True


def test_tables_of_later_migrations_are_its_too(database: str, role_url: str) -> None:
    grant(database, role_url)
    with engine.make_engine(database).begin() as owner:
        owner.execute(text("CREATE TABLE edge.later (id int)"))
    assert not refused(role_url, "INSERT INTO edge.later VALUES (1)")


@pytest.fixture
def passwords_count(database: str, role_url: str) -> Iterator[None]:
    """Make the server ask the role for its password; it trusts everyone else on its socket."""
    with engine.make_engine(database).connect() as connection:
        file = Path(connection.execute(text("SHOW hba_file")).scalar_one())
        before = file.read_text()
        file.write_text(f"local all {make_url(role_url).username} scram-sha-256\n{before}")
        connection.execute(text("SELECT pg_reload_conf()"))
        yield
        file.write_text(before)
        connection.execute(text("SELECT pg_reload_conf()"))


@pytest.mark.usefixtures("passwords_count")
def test_repeated_and_with_a_new_password(database: str, role_url: str) -> None:
    grant(database, role_url)
    grant(database, role_url)
    changed = make_url(role_url).set(password="another").render_as_string(hide_password=False)
    until_refused(changed)
    grant(database, changed)
    as_role(changed).close()
    with pytest.raises(StoreError, match="password authentication failed"):
        as_role(role_url)


def until_refused(url: str) -> None:
    """Wait until the server has reloaded its rules."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            as_role(url).close()
        except StoreError:
            return
    raise AssertionError("the server takes any password")


def test_password_is_in_no_statement(database: str, role_url: str) -> None:
    seen: list[str] = []
    owner = engine.make_engine(database)
    event.listen(owner, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    with owner.begin() as connection:
        grant_role(connection, role_url)
    assert any("SCRAM-SHA-256$" in statement for statement in seen)
    assert "secret" not in str(seen)


def test_the_owner_itself_is_refused(database: str) -> None:
    url = make_url(database)
    with engine.make_engine(database).begin() as owner:
        name = owner.execute(text("SELECT current_user")).scalar_one()
        with pytest.raises(RoleError, match="owner itself"):
            grant_role(owner, url.set(username=name, password="x").render_as_string(hide_password=False))


@pytest.mark.parametrize("url", ["postgresql://host/db", "postgresql://user@host/db"])
def test_a_url_without_a_user_or_password_is_refused(db: Connection, url: str) -> None:
    with pytest.raises(RoleError, match="no user or no password"):
        grant_role(db, url)


def test_an_owner_without_the_right_to_create_roles_gets_instructions(database: str, role_url: str) -> None:
    grant(database, role_url)
    other = make_url(role_url).set(username="nobody_yet").render_as_string(hide_password=False)
    with as_role(role_url) as weak, pytest.raises(RoleError, match="CREATEROLE"):
        grant_role(weak, other)
    with pytest.raises(StoreError):
        as_role(other)
