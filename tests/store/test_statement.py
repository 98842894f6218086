"""Rows of statements: typed, and checked against the class that the statement names."""

from typing import NamedTuple

import pytest
from sqlalchemy import Connection, text

from edge_store.database.statement import Command, Statement, first, rows, run
from edge_store.errors import UnexpectedColumnsError


class Pair(NamedTuple):
    name: str
    number: int


PAIRS = "SELECT 'w' || n AS name, n AS number FROM generate_series(1, :most) n"


def pairs(most: int) -> Statement[Pair]:
    return Statement("pairs", text(PAIRS).bindparams(most=most), Pair)


def test_rows_are_of_the_statements_class(db: Connection) -> None:
    assert rows(db, pairs(2)) == [Pair("w1", 1), Pair("w2", 2)]
    assert first(db, pairs(2)) == Pair("w1", 1)
    assert first(db, pairs(0)) is None


@pytest.mark.parametrize("columns", ["1 AS number, 'w' AS name", "'w' AS name", "'w' AS name, 1 AS number, 2 AS more"])
@pytest.mark.parametrize("where", ["true", "false"])
def test_other_columns_than_fields_are_an_error_even_without_rows(db: Connection, columns: str, where: str) -> None:
    with pytest.raises(UnexpectedColumnsError, match="The statement pairs returns the columns"):
        rows(db, Statement("pairs", text(f"SELECT {columns} WHERE {where}"), Pair))


def test_a_command_may_return_rows_that_nobody_reads(db: Connection) -> None:
    run(db, Command("pairs", text(PAIRS).bindparams(most=2)))
