"""Waiting for a condition with a deadline: the one place where tests let time pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

DEADLINE_S = 60.0
INTERVAL_S = 0.2


def eventually(
    ask: Callable[[], T],
    what: str,
    deadline_s: float = DEADLINE_S,
    explain: Callable[[], object] = lambda: "",
) -> T:
    """Return the first true answer.

    Raises:
        AssertionError: there was none before the deadline; the message has the last answer and the explanation.

    """
    end = time.monotonic() + deadline_s
    while not (answer := ask()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; the last answer was {answer!r} {explain()}")
        time.sleep(INTERVAL_S)
    return answer


@overload
async def until(ask: Callable[[], Awaitable[T | None]], what: str, deadline_s: float = ...) -> T: ...


@overload
async def until(ask: Callable[[], T | None], what: str, deadline_s: float = ...) -> T: ...


async def until(ask: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S / 2) -> Any:
    """Return the first true answer without blocking the event loop; `ask` may be a coroutine function.

    Raises:
        AssertionError: there was none before the deadline; the message has the last answer.

    """
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; the last answer was {answer!r}")
        await asyncio.sleep(0.02)


def never(ask: Callable[[], object], what: str, for_s: float) -> None:
    """Check that a condition stays false for a while."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        answer = ask()
        assert not answer, f"{what}: {answer!r}"
        time.sleep(INTERVAL_S / 2)
