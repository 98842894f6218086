"""A database role for the edge API, with rights on the schema `edge` and nothing else in Airflow's database."""

from collections.abc import Iterator

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from edge_store.database import engine
from edge_store.errors import RoleError, UnreachableDatabaseError
from edge_store.schema.tables import SCHEMA, VERSION_TABLE


def grant_role(owner: Connection, role_url: str) -> None:
    """Ensure that the user of `role_url` exists, can log in with its password, and has its rights.

    Runs in the owner's transaction, which the caller commits. Idempotent: a login that works is left alone.

    Raises:
        RoleError: The URL has no user or password, the user is the owner itself, or the owner lacks a right.

    """
    url = engine.database_url(role_url)
    name, password = url.username, url.password
    if not name or not password:
        raise RoleError(
            "The role's URL has no user or no password. Give one like postgresql://edge_api:SECRET@host/db."
        )
    if name == owner.execute(text("SELECT current_user")).scalar_one():
        raise RoleError(f"The role {name} is the owner itself. Give the edge API a user of its own.")
    try:
        if not _can_log_in(role_url):
            _run(owner, _login(owner, name, password))
        for statement in _rights(owner, name):
            _run(owner, statement)
    except ProgrammingError as error:
        raise RoleError(
            f"The role {name} can't be set up: {str(error.orig).splitlines()[0]}. Give the owner the right CREATEROLE, "
            "or have an administrator make the role with LOGIN and its password."
        ) from error


def _can_log_in(role_url: str) -> bool:
    login = engine.make_engine(role_url)
    try:
        engine.connect(login).close()
    except UnreachableDatabaseError:
        return False
    finally:
        login.dispose()
    return True


def _driver(connection: Connection) -> psycopg.Connection[object]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise RoleError("The connection is not one of psycopg.")
    return driver


def _run(connection: Connection, statement: sql.Composed) -> None:
    connection.exec_driver_sql(statement.as_string(_driver(connection)).replace("%", "%%"))


def _login(connection: Connection, name: str, password: str) -> sql.Composed:
    # Hashed here: a password in a statement would be in the server's log.
    hashed = _driver(connection).pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    exists = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name").bindparams(name=name)).first()
    verb = sql.SQL("ALTER" if exists else "CREATE")
    return sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, sql.Identifier(name), sql.Literal(hashed.decode()))


def _rights(connection: Connection, name: str) -> Iterator[sql.Composed]:
    role, schema = sql.Identifier(name), sql.Identifier(SCHEMA)
    may = text("SELECT has_database_privilege(:name, current_database(), 'CONNECT'), current_database()")
    connects, database = connection.execute(may.bindparams(name=name)).one()
    if not connects:
        yield sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), role)
    yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role)
    rights = sql.SQL("SELECT, INSERT, UPDATE, DELETE")
    yield sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}").format(rights, schema, role)
    # Only migrations, which the owner runs, change the version.
    version = sql.Identifier(SCHEMA, VERSION_TABLE)
    yield sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}").format(version, role)
    # Tables of later migrations, whoever runs those as this owner.
    yield sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT {} ON TABLES TO {}").format(schema, rights, role)
