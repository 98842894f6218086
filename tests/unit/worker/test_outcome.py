"""The outcome of a task, from its supervisor's file and the end of the supervisor process."""

from uuid import uuid4

import pytest

from edge_worker.tasks.outcome import AGENT_STOPPED, Outcome, TaskExit, judge


@pytest.mark.parametrize(
    ("written", "status", "detail", "kill_reason", "outcome", "noticed"),
    [
        (Outcome("succeeded", 0), 0, None, None, Outcome("succeeded", 0), False),
        (Outcome("failed", 1, "x"), 0, None, None, Outcome("failed", 1, "x"), False),
        (Outcome("succeeded", 0), 0, None, "cancelled", Outcome("succeeded", 0), False),
        (Outcome("failed", -9, "signal"), 0, None, "cancelled", Outcome("failed", -9, "cancelled"), True),
        (None, -15, None, "cancelled", Outcome("failed", None, "cancelled"), True),
        (None, None, "the runner died", None, Outcome("failed", None, "the runner died"), True),
    ],
)
def test_outcome(
    written: Outcome | None,
    status: int | None,
    detail: str | None,
    kill_reason: str | None,
    outcome: Outcome,
    noticed: bool,
) -> None:
    verdict = judge(written, TaskExit(uuid4(), status, detail), kill_reason)
    assert verdict.outcome == outcome
    assert (verdict.notice is not None) is noticed


def test_outcome_of_a_task_whose_agent_died() -> None:
    assert judge(None, None, None).outcome == Outcome("failed", error=AGENT_STOPPED)
    assert judge(Outcome("succeeded", 0), None, None).outcome == Outcome("succeeded", 0)
