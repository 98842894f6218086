"""The executor's memory follows the session's transaction, whether it commits or rolls back."""

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from edge_provider.rollback import on_rollback


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def undone() -> list[str]:
    return []


def write(session: Session, undone: list[str], name: str) -> None:
    session.execute(text("SELECT 1"))
    on_rollback(session, lambda: undone.append(name))


def test_commit_keeps_and_forgets(session: Session, undone: list[str]) -> None:
    write(session, undone, "a")
    session.commit()
    write(session, undone, "b")
    session.rollback()
    assert undone == ["b"]


def test_rollback_undoes_last_first(session: Session, undone: list[str]) -> None:
    write(session, undone, "a")
    write(session, undone, "b")
    session.rollback()
    session.rollback()
    assert undone == ["b", "a"]


def test_closing_without_a_commit_undoes(session: Session, undone: list[str]) -> None:
    write(session, undone, "a")
    session.close()
    assert undone == ["a"]


def test_savepoint_undoes_only_what_is_in_it(session: Session, undone: list[str]) -> None:
    write(session, undone, "outside")
    savepoint = session.begin_nested()
    write(session, undone, "inside")
    savepoint.rollback()
    assert undone == ["inside"]
    session.commit()
    session.rollback()
    assert undone == ["inside"]


def test_released_savepoint_ends_with_its_parent(session: Session, undone: list[str]) -> None:
    with session.begin_nested(), session.begin_nested():
        write(session, undone, "a")
    assert undone == []
    session.rollback()
    assert undone == ["a"]


def test_failed_commit_undoes(session: Session, undone: list[str]) -> None:
    @event.listens_for(session, "before_commit")
    def _fail(_session: Session) -> None:
        raise RuntimeError("no")

    write(session, undone, "a")
    with pytest.raises(RuntimeError):
        session.commit()
    session.rollback()
    assert undone == ["a"]
