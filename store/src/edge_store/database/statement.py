"""Typed statements: what is run, the name under which it is measured, and the type of its rows.

A statement is data. Sync callers (the executor on the scheduler's session, commands on a connection) run it with the
functions below; the edge API runs the same objects on asyncio connections and shares `read`.
"""

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sqlalchemy import Executable, Result

from edge_store.errors import UnexpectedColumnsError

RowT = TypeVar("RowT", bound=NamedTuple)


@dataclass(frozen=True, slots=True)
class Statement(Generic[RowT]):
    """A statement that returns rows."""

    name: str
    """Label of its timing."""
    executable: Executable
    row: type[RowT]
    """Its fields are the columns, in order."""


@dataclass(frozen=True, slots=True)
class Command:
    """A statement whose rows, if it has any, nobody reads."""

    name: str
    executable: Executable


class Executor(Protocol):
    """A sync connection, or a session of the ORM."""

    def execute(self, statement: Executable, /) -> Result[Any]:
        """Run a statement."""


def read(result: Result[Any], statement: Statement[RowT]) -> list[RowT]:
    """Return the rows of a result.

    Raises:
        UnexpectedColumnsError: the statement and its row class disagree.

    """
    columns = tuple(result.keys())
    if columns != statement.row._fields:
        raise UnexpectedColumnsError(
            f"The statement {statement.name} returns the columns {columns}, "
            f"but {statement.row.__name__} has the fields {statement.row._fields}."
        )
    return [statement.row._make(row) for row in result]


def rows(connection: Executor, statement: Statement[RowT]) -> list[RowT]:
    """Run a statement and return its rows."""
    return read(connection.execute(statement.executable), statement)


def first(connection: Executor, statement: Statement[RowT]) -> RowT | None:
    """Run a statement and return its first row, or None."""
    found = rows(connection, statement)
    return found[0] if found else None


def run(connection: Executor, command: Command) -> None:
    """Run a command."""
    connection.execute(command.executable)
