"""Waiting for a condition with a deadline: the one place where tests of the operator let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0
INTERVAL_S = 0.1


def eventually(ask: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the first true answer.

    Raises:
        AssertionError: there was none before the deadline; the last answer is told.

    """
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; the last answer was {answer!r}")
        time.sleep(INTERVAL_S)


def never(ask: Callable[[], object], what: str, for_s: float) -> None:
    """Check that a condition stays false for a while."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        answer = ask()
        assert not answer, f"{what}: {answer!r}"
        time.sleep(INTERVAL_S)
