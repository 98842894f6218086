"""Migrations: up, down, and equal to the tables in the code."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from edge_store.database import engine
from edge_store.errors import SchemaMismatchError, UnreachableDatabaseError, UnsupportedDatabaseError
from edge_store.schema import migrate
from edge_store.schema.tables import metadata


def differences(db: Engine) -> list[Any]:
    """The differences between the schema and the tables of the code."""
    with db.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, type_, _: type_ != "schema" or name == "edge",
                "compare_type": True,
                "version_table": "schema_version",
                "version_table_schema": "edge",
            },
        )
        found: list[Any] = compare_metadata(context, metadata)
    return found


def test_upgrade_from_empty_gives_the_tables_of_the_code(empty_database: str) -> None:
    db = engine.make_engine(empty_database)
    with db.begin() as connection:
        migrate.upgrade(connection)
        migrate.check(connection)
    assert differences(db) == []
    db.dispose()


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004", "0005", "0006"])
def test_upgrade_from_an_earlier_version_gives_the_tables_of_the_code(empty_database: str, version: str) -> None:
    db = engine.make_engine(empty_database)
    with db.begin() as connection:
        migrate.upgrade(connection, version)
        assert migrate.current_revision(connection) == version
    assert differences(db) != []
    with db.begin() as connection:
        migrate.upgrade(connection)
        migrate.check(connection)
    assert differences(db) == []
    db.dispose()


def test_check_constraints_and_partial_indexes_equal_those_of_the_code(empty_database: str, database: str) -> None:
    """Autogenerate compares neither checks nor index predicates, so this compares the server's own text of them."""
    created = engine.make_engine(empty_database)
    with created.begin() as connection:
        connection.execute(text("CREATE SCHEMA edge"))
        metadata.create_all(connection)
    migrated = engine.make_engine(database)
    query = text(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'edge'::regnamespace AND contype <> 'n'"
        " AND conrelid::regclass::text <> 'edge.schema_version'"
        " UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'edge' AND tablename <> 'schema_version' ORDER BY 1, 2"
    )
    with created.connect() as one, migrated.connect() as other:
        assert one.execute(query).fetchall() == other.execute(query).fetchall()
    created.dispose()
    migrated.dispose()


def test_downgrade_to_base_and_up_again(database: str) -> None:
    db = engine.make_engine(database)
    with db.begin() as connection:
        migrate.downgrade(connection, "base")
        assert migrate.current_revision(connection) is None
        assert inspect(connection).get_table_names(schema="edge") == ["schema_version"]
        migrate.upgrade(connection)
        migrate.check(connection)
    db.dispose()


def test_a_downgrade_never_allows_more_names(database: str) -> None:
    db = engine.make_engine(database)
    with db.begin() as connection:
        for column in ("connections", "variables"):
            connection.execute(
                text(
                    f"INSERT INTO edge.join_token (id, secret_hash, expires_at, {column})"
                    " SELECT gen_random_uuid(), '', now() + interval '1 day', names"
                    " FROM (VALUES ('{}'::text[]), ('{a}'), (NULL)) AS each (names)"
                )
            )
        migrate.downgrade(connection, "0006")
        revoked = connection.execute(text("SELECT revoked_at IS NOT NULL FROM edge.join_token ORDER BY 1")).scalars()
        assert list(revoked) == [False] * 2 + [True] * 4
        migrate.upgrade(connection)
    db.dispose()


def test_check_names_the_command_that_fixes_it(empty_database: str) -> None:
    db = engine.make_engine(empty_database)
    with db.begin() as connection, pytest.raises(SchemaMismatchError, match="edge-api db upgrade"):
        migrate.check(connection)
    db.dispose()


def test_check_of_a_newer_schema_says_to_upgrade_the_program(database: str) -> None:
    db = engine.make_engine(database)
    with db.begin() as connection:
        connection.execute(text("UPDATE edge.schema_version SET version_num = '9999'"))
        with pytest.raises(SchemaMismatchError, match="Upgrade this program"):
            migrate.check(connection)
    db.dispose()


@pytest.mark.parametrize("url", ["mysql://u:p@h/db", "sqlite:////tmp/a.db", "not a url"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(UnsupportedDatabaseError, match="postgresql://"):
        engine.make_engine(url)


def test_unreachable_database_is_named_without_its_password() -> None:
    db = engine.make_engine("postgresql://user:hunter2@127.0.0.1:1/airflow")
    with pytest.raises(UnreachableDatabaseError, match=r"127\.0\.0\.1:1/airflow") as caught:
        engine.connect(db)
    assert "hunter2" not in str(caught.value)
    db.dispose()
