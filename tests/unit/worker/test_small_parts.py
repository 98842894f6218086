"""Drain, backoff, choice of transport, outcomes, refresh of templates: pure decisions."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.backoff import Backoff
from edge_worker.connection.reconnect import EARLY_DEATHS, RETRY_WEBSOCKET_S, TransportChoice
from edge_worker.maintenance.drain import Drain, Step
from edge_worker.tasks.learned import IDLE_S, MANY_MODULES, PATIENCE_S, SPACING_S, RefreshPolicy
from edge_worker.tasks.outcome import AGENT_STOPPED, Outcome, TaskExit, judge


@given(st.integers(0, 2000), st.floats(0, 1))
def test_backoff_grows_and_stays_bounded(failures: int, share: float) -> None:
    backoff = Backoff(0.2, 30, lambda low, high: low + share * (high - low))
    delays = [backoff.next_delay() for _ in range(failures + 1)]
    assert all(0 <= delay <= min(30, 0.2 * 2 ** min(number, 60)) for number, delay in enumerate(delays))


def test_backoff_starts_over_after_a_success() -> None:
    backoff = Backoff(0.2, 30, lambda _low, high: high)
    assert [backoff.next_delay() for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]
    backoff.reset()
    assert backoff.next_delay() == 0.2


def drain() -> Drain:
    return Drain(drain_timeout_s=100, kill_grace_s=5, flush_timeout_s=30)


def test_idle_worker_stops_at_once() -> None:
    stop = drain()
    assert stop.advance(0, tasks=0, undelivered=False) is Step.WORKING
    stop.request(0)
    assert stop.advance(0, tasks=0, undelivered=False) is Step.DONE


def test_drain_waits_for_tasks_then_for_delivery() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(99, tasks=1, undelivered=True) is Step.DRAINING
    assert stop.advance(99, tasks=0, undelivered=True) is Step.FLUSHING
    assert stop.advance(128, tasks=0, undelivered=True) is Step.FLUSHING
    assert stop.advance(128, tasks=0, undelivered=False) is Step.DONE


def test_drain_is_bounded_at_every_step() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(100, tasks=1, undelivered=True) is Step.STOPPING
    assert stop.advance(114, tasks=1, undelivered=True) is Step.STOPPING
    assert stop.advance(115, tasks=1, undelivered=True) is Step.FLUSHING
    assert stop.advance(145, tasks=1, undelivered=True) is Step.DONE


def test_each_further_request_skips_a_wait() -> None:
    stop = drain()
    stop.request(0)
    assert stop.advance(1, tasks=1, undelivered=True) is Step.DRAINING
    stop.request(1)
    assert stop.advance(1, tasks=1, undelivered=True) is Step.STOPPING
    stop.request(2)
    assert stop.advance(2, tasks=1, undelivered=True) is Step.FLUSHING
    stop.request(3)
    assert stop.advance(3, tasks=1, undelivered=True) is Step.DONE


def test_choice_stays_with_the_websocket_while_nothing_answers() -> None:
    choice = TransportChoice("auto")
    assert [choice.next(now) for now in range(100)] == ["websocket"] * 100


def test_refused_upgrade_means_long_polling_for_a_while() -> None:
    choice = TransportChoice("auto")
    choice.upgrade_refused(10)
    assert choice.next(10) == "sync"
    assert choice.session_limit(70) == RETRY_WEBSOCKET_S - 60
    assert choice.next(10 + RETRY_WEBSOCKET_S) == "websocket"
    choice.worked("websocket")
    assert choice.session_limit(0) is None


def test_early_deaths_count_only_in_a_row() -> None:
    choice = TransportChoice("auto")
    for _ in range(EARLY_DEATHS - 1):
        choice.died_early(0)
    choice.worked("websocket")
    choice.died_early(0)
    assert choice.next(0) == "websocket"
    for _ in range(EARLY_DEATHS - 1):
        choice.died_early(0)
    assert choice.next(0) == "sync"
    choice.sync_failed()
    assert choice.next(0) == "websocket"


@pytest.mark.parametrize("setting", ["websocket", "sync"])
def test_a_fixed_transport_never_changes(setting: str) -> None:
    choice = TransportChoice(setting)  # type: ignore[arg-type]
    choice.upgrade_refused(0)
    choice.sync_failed()
    assert choice.next(5) == setting
    assert choice.session_limit(5) is None


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


def test_many_new_modules_lead_to_a_template_at_once_but_not_too_often() -> None:
    policy = RefreshPolicy()
    assert policy.due_at() is None
    policy.learned(MANY_MODULES, now=100)
    assert (policy.due_at() or 0) <= 100
    policy.started(100)
    assert policy.due_at() is None
    policy.learned(MANY_MODULES, now=101)
    assert policy.due_at() == 100 + SPACING_S


def test_few_new_modules_wait_until_no_task_runs() -> None:
    policy = RefreshPolicy()
    policy.tasks_running(1, now=0)
    policy.learned(1, now=50)
    assert policy.due_at() == 50 + PATIENCE_S
    policy.tasks_running(0, now=60)
    assert policy.due_at() == 60 + IDLE_S
    policy.tasks_running(2, now=61)
    assert policy.due_at() == 50 + PATIENCE_S
