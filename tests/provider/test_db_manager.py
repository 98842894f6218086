"""The DB manager, called like `airflow db migrate`, `reset` and `check-migrations` do."""

from collections.abc import Iterator

import pytest
from airflow.utils.db_manager import RunDBManager
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from edge_provider.db_manager import EdgeDBManager
from edge_store.database import engine
from edge_store.schema import migrate


@pytest.fixture
def empty(empty_database: str) -> Iterator[Session]:
    made = engine.make_engine(empty_database)
    with Session(made) as session:
        yield session
    made.dispose()


def test_migrates_checks_and_drops(empty: Session) -> None:
    manager = EdgeDBManager(empty)
    assert not manager.check_migration()
    empty.rollback()
    manager.initdb(use_migration_files=True)
    assert manager.check_migration()
    assert manager.get_current_revision() == migrate.head_revision()
    empty.rollback()
    manager.upgradedb()  # a second time changes nothing
    with empty.get_bind().engine.begin() as connection:
        manager.drop_tables(connection)
        assert inspect(connection).get_table_names(schema="edge") == []
    assert not manager.check_migration()


def test_tables_of_others_in_the_schema_stay(empty: Session) -> None:
    manager = EdgeDBManager(empty)
    manager.create_db_from_orm()
    with empty.get_bind().engine.begin() as connection:
        connection.execute(text("CREATE TABLE edge.of_somebody_else (id int)"))
        manager.drop_tables(connection)
        assert inspect(connection).get_table_names(schema="edge") == ["of_somebody_else"]


def test_downgrade(empty: Session) -> None:
    manager = EdgeDBManager(empty)
    manager.upgradedb()
    manager.downgrade("base")
    assert manager.get_current_revision() is None


def test_sql_only_is_refused(empty: Session) -> None:
    with pytest.raises(SystemExit, match="without --show-sql-only"):
        EdgeDBManager(empty).upgradedb(show_sql_only=True)


def test_other_databases_are_refused() -> None:
    made = create_engine("sqlite://")
    with Session(made) as session, pytest.raises(SystemExit, match="needs PostgreSQL 13 or newer"):
        EdgeDBManager(session).upgradedb()
    made.dispose()


def test_airflow_finds_it_and_finds_it_valid() -> None:
    manager = RunDBManager()
    manager.validate()
    assert "job" in manager.get_required_table_names()
