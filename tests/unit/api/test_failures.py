"""What errors of PostgreSQL mean, by their SQLSTATE."""

import pytest

from edge_api.database.failures import Failure, classify


@pytest.mark.parametrize(
    ("sqlstate", "failure"),
    [
        ("25006", Failure.AWAY),  # read_only_sql_transaction
        ("25P03", Failure.AWAY),  # idle_in_transaction_session_timeout
        ("53100", Failure.AWAY),  # disk_full
        ("53300", Failure.AWAY),  # too_many_connections
        ("57P01", Failure.AWAY),  # admin_shutdown
        ("57P03", Failure.AWAY),  # cannot_connect_now
        ("57P05", Failure.AWAY),  # idle_session_timeout
        ("08006", Failure.AWAY),  # connection_failure
        ("57014", Failure.AGAIN),  # query_canceled
        ("40001", Failure.AGAIN),  # serialization_failure
        ("40P01", Failure.AGAIN),  # deadlock_detected
        ("55P03", Failure.AGAIN),  # lock_not_available
        ("XX000", Failure.BROKEN),  # internal_error
        ("26000", Failure.POOLER),  # invalid_sql_statement_name
        ("42P05", Failure.POOLER),  # duplicate_prepared_statement
        ("25P02", Failure.REFUSED),  # in_failed_sql_transaction
        ("23505", Failure.REFUSED),  # unique_violation
        ("42601", Failure.REFUSED),  # syntax_error
    ],
)
def test_failures_by_state(sqlstate: str, failure: Failure) -> None:
    assert classify(sqlstate) is failure
