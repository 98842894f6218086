"""What the words of a v1 worker mean: the redefinition rules of its wire, and its own maintenance."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_api.v1.state import ACKNOWLEDGED, Before, Outcome, settle
from edge_protocol.limits import COMMENT_MAX
from edge_protocol.worker_state import GONE_STATES
from edge_protocol.worker_state import WorkerState as S

QUIET = Before(
    maintenance=False, comment=None, shutdown=False, acknowledged=False, answered=None, answered_comment=None
)
WISHED = dataclasses.replace(QUIET, maintenance=True, comment="disk")
IN_MAINTENANCE = dataclasses.replace(WISHED, acknowledged=True, answered=S.MAINTENANCE_MODE, answered_comment="disk")
EXITING = dataclasses.replace(QUIET, acknowledged=True)
STOPPING = dataclasses.replace(QUIET, shutdown=True)


@pytest.mark.parametrize(
    ("before", "told", "expected"),
    [
        (QUIET, S.IDLE, Outcome(S.IDLE)),
        (QUIET, S.RUNNING, Outcome(S.RUNNING)),
        (QUIET, S.STARTING, Outcome(S.STARTING)),
        (WISHED, S.IDLE, Outcome(S.MAINTENANCE_REQUEST)),
        (WISHED, S.RUNNING, Outcome(S.MAINTENANCE_REQUEST)),
        (WISHED, S.STARTING, Outcome(S.MAINTENANCE_REQUEST)),
        (WISHED, S.MAINTENANCE_PENDING, Outcome(S.MAINTENANCE_PENDING)),
        (WISHED, S.MAINTENANCE_MODE, Outcome(S.MAINTENANCE_MODE)),
        (WISHED, S.TERMINATING, Outcome(S.TERMINATING)),
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
def test_answers(before: Before, told: S, expected: Outcome) -> None:
    assert settle(before, told, before.comment) == expected


def test_a_request_that_was_taken_back_before_it_arrived_is_not_the_hosts_wish() -> None:
    taken_back = dataclasses.replace(QUIET, answered=S.MAINTENANCE_REQUEST)
    assert settle(taken_back, S.MAINTENANCE_MODE, "disk") == Outcome(S.IDLE)


def test_comments_of_the_host() -> None:
    assert settle(QUIET, S.MAINTENANCE_MODE, "hot") == Outcome(S.MAINTENANCE_MODE, "enter", "hot")
    assert settle(IN_MAINTENANCE, S.MAINTENANCE_MODE, "hot") == Outcome(S.MAINTENANCE_MODE, "enter", "disk\n\nhot")
    changed_here = dataclasses.replace(IN_MAINTENANCE, comment="a new disk")
    assert settle(changed_here, S.MAINTENANCE_MODE, "disk") == Outcome(S.MAINTENANCE_MODE)
    long = settle(IN_MAINTENANCE, S.MAINTENANCE_MODE, "x" * 2000)
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


@given(before=BEFORE, told=STATES, comment=st.none() | st.text(max_size=1100))
def test_a_wish_is_never_forgotten(before: Before, told: S, comment: str | None) -> None:
    outcome = settle(before, told, comment)
    assert len(outcome.comment or "") <= COMMENT_MAX
    if told in GONE_STATES:
        assert outcome.state is told
    elif before.shutdown:
        assert outcome.state is S.SHUTDOWN_REQUEST
    elif before.maintenance and outcome.wish != "exit" and told is not S.TERMINATING:
        assert outcome.state in ACKNOWLEDGED | {S.MAINTENANCE_REQUEST}
