"""What the words of a v1 worker mean: the redefinition rules of its wire, and its own maintenance."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_api.v1.state import ACKNOWLEDGED, Before, Outcome, answer
from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import GONE_STATES
from edge_protocol.worker_state import WorkerState as S

QUIET = Before(
    maintenance=False, comment=None, shutdown=False, acknowledged=False, answered=None, answered_comment=None
)
REQUESTED = dataclasses.replace(QUIET, maintenance=True, comment="disk")
IN_MAINTENANCE = dataclasses.replace(REQUESTED, acknowledged=True, answered=S.MAINTENANCE_MODE, answered_comment="disk")
EXITING = dataclasses.replace(QUIET, acknowledged=True)
STOPPING = dataclasses.replace(QUIET, shutdown=True)


@pytest.mark.parametrize(
    ("before", "reported", "expected"),
    [
        (QUIET, S.IDLE, Outcome(S.IDLE)),
        (QUIET, S.RUNNING, Outcome(S.RUNNING)),
        (QUIET, S.STARTING, Outcome(S.STARTING)),
        (REQUESTED, S.IDLE, Outcome(S.MAINTENANCE_REQUEST)),
        (REQUESTED, S.RUNNING, Outcome(S.MAINTENANCE_REQUEST)),
        (REQUESTED, S.STARTING, Outcome(S.MAINTENANCE_REQUEST)),
        (REQUESTED, S.MAINTENANCE_PENDING, Outcome(S.MAINTENANCE_PENDING)),
        (REQUESTED, S.MAINTENANCE_MODE, Outcome(S.MAINTENANCE_MODE)),
        (REQUESTED, S.TERMINATING, Outcome(S.TERMINATING)),
        (IN_MAINTENANCE, S.STARTING, Outcome(S.MAINTENANCE_REQUEST)),
        (IN_MAINTENANCE, S.MAINTENANCE_MODE, Outcome(S.MAINTENANCE_MODE)),
        (IN_MAINTENANCE, S.IDLE, Outcome(S.IDLE, "exit")),
        (EXITING, S.MAINTENANCE_PENDING, Outcome(S.RUNNING)),
        (EXITING, S.MAINTENANCE_MODE, Outcome(S.IDLE)),
        (EXITING, S.IDLE, Outcome(S.IDLE)),
        (STOPPING, S.IDLE, Outcome(S.SHUTDOWN_REQUEST)),
        (STOPPING, S.TERMINATING, Outcome(S.SHUTDOWN_REQUEST)),
        (STOPPING, S.OFFLINE, Outcome(S.OFFLINE)),
        (STOPPING, S.OFFLINE_MAINTENANCE, Outcome(S.OFFLINE_MAINTENANCE)),
        (QUIET, S.MAINTENANCE_MODE, Outcome(S.MAINTENANCE_MODE, "enter")),
    ],
)
def test_answers(before: Before, reported: S, expected: Outcome) -> None:
    assert answer(before, reported, before.comment) == expected


def test_a_request_that_was_taken_back_before_it_arrived_is_not_the_hosts_wish() -> None:
    taken_back = dataclasses.replace(QUIET, answered=S.MAINTENANCE_REQUEST)
    assert answer(taken_back, S.MAINTENANCE_MODE, "disk") == Outcome(S.IDLE)


def test_comments_of_the_host() -> None:
    assert answer(QUIET, S.MAINTENANCE_MODE, "hot") == Outcome(S.MAINTENANCE_MODE, "enter", "hot")
    assert answer(IN_MAINTENANCE, S.MAINTENANCE_MODE, "hot") == Outcome(S.MAINTENANCE_MODE, "enter", "disk\n\nhot")
    changed_here = dataclasses.replace(IN_MAINTENANCE, comment="a new disk")
    assert answer(changed_here, S.MAINTENANCE_MODE, "disk") == Outcome(S.MAINTENANCE_MODE)
    long = answer(IN_MAINTENANCE, S.MAINTENANCE_MODE, "x" * 2000)
    assert long.comment == "x" * COMMENT_MAX


STATES = st.sampled_from(sorted(S))
BEFORE = st.builds(
    Before,
    maintenance=st.booleans(),
    comment=st.none() | st.text(max_size=COMMENT_MAX),
    shutdown=st.booleans(),
    acknowledged=st.booleans(),
    answered=st.none() | STATES,
    answered_comment=st.none() | st.text(max_size=20),
)


@given(before=BEFORE, reported=STATES, comment=st.none() | st.text(max_size=1100))
def test_a_wish_is_never_forgotten(before: Before, reported: S, comment: str | None) -> None:
    outcome = answer(before, reported, comment)
    assert len(outcome.comment or "") <= COMMENT_MAX
    if reported in GONE_STATES:
        assert outcome.state is reported
    elif before.shutdown:
        assert outcome.state is S.SHUTDOWN_REQUEST
    elif before.maintenance and outcome.request != "exit" and reported is not S.TERMINATING:
        assert outcome.state in ACKNOWLEDGED | {S.MAINTENANCE_REQUEST}
