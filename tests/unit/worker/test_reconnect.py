"""Delays between attempts, and the choice of the transport: pure decisions over time."""

import asyncio
from unittest.mock import Mock

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_worker.backoff import Backoff
from edge_worker.connection.reconnect import (
    BUSY_LONGEST_S,
    EARLY_DEATHS,
    RETRY_WEBSOCKET_S,
    Connection,
    TransportChoice,
)
from edge_worker.connection.session import Peer


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


@pytest.mark.parametrize(("busy", "longest_s"), [(True, BUSY_LONGEST_S), (False, 30.0)])
async def test_a_worker_with_tasks_is_back_soon(monkeypatch: pytest.MonkeyPatch, busy: bool, longest_s: float) -> None:
    """Its jobs are lost after 30 s of silence: the delay after an outage must leave most of that for the outage."""
    delays: list[float] = []

    async def note(delay_s: float) -> None:
        delays.append(delay_s)
        if len(delays) == 12:
            raise asyncio.CancelledError

    monkeypatch.setattr("edge_worker.connection.reconnect.asyncio.sleep", note)
    monkeypatch.setattr("edge_worker.connection.reconnect.Backoff", lambda: Backoff(draw=lambda _low, high: high))
    peer = Peer(Mock(), Mock(), Mock(), busy=lambda: busy, participants=())
    async with aiohttp.ClientSession() as client:
        connection = Connection(client, "http://127.0.0.1:1", TransportChoice("auto"))
        with pytest.raises(asyncio.CancelledError):
            await connection.keep(peer)
    assert max(delays) == longest_s
