"""What the relay knows of one running task: whether its calls are held, its tokens, and the verdict on its heartbeats.

A task with an outage tolerance survives a cut because its calls are answered late, or from here. Its supervisor is
single-threaded, so it has one call open at most, and while that one is held it sends no heartbeat, hears no signal and
reads nothing of its task's output.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from edge_protocol.execution import REFRESHED_HEADER
from edge_worker.relay.upstream import Answer, Call

HOLD_S: Final = 25.0
"""A call of a task without outage tolerance is held for so long while nobody answers."""
LAST_CALL_S: Final = 2.0
"""Seconds in which a call of a task that must end has to be answered."""
OVER: Final = frozenset({404, 409, 410})
"""Verdicts on a heartbeat by which Airflow says that the task must not run any more."""
_OLD_TOKENS = 16
_HEARTBEAT = re.compile(r"task-instances/[^/?]+/heartbeat")


def is_heartbeat(call: Call) -> bool:
    """Return whether a call is a heartbeat of a task."""
    return call.method == "PUT" and _HEARTBEAT.fullmatch(call.path) is not None


class RelayedTask:
    """A running task, which has a URL."""

    def __init__(self, lease: UUID, left_s: Callable[[], float] | None) -> None:
        """Set up; `left_s` returns the seconds until the task must end without contact; None: no outage tolerance."""
        self.lease = lease
        self.must_end = False
        self.tokens = Tokens()
        self.verdict = Verdict()
        self.tolerant = left_s is not None
        self._left_s = left_s
        self._attempts: dict[asyncio.Timeout, bool] = {}
        self._wake = asyncio.Event()

    def hold_until(self, now: float) -> Callable[[], float]:
        """Return a function that returns for how many more seconds a call that came now is held."""
        if self._left_s is not None:
            return self._left_s
        return lambda: now + HOLD_S - asyncio.get_running_loop().time()

    def end(self) -> None:
        """Hold no more calls: a supervisor hears no signal while it waits for an answer."""
        if self.must_end:
            return
        self.must_end = True
        self.wake()
        now = asyncio.get_running_loop().time()
        for limit, held in self._attempts.items():
            limit.reschedule(now if held else now + LAST_CALL_S)

    def wake(self) -> None:
        """Have what waits try again."""
        self._wake.set()

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt, but not after `wake`."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    @asynccontextmanager
    async def attempt(self, *, held: bool) -> AsyncIterator[None]:
        """Limit an attempt to get an answer, once the task must end.

        Raises:
            TimeoutError: the task must end, and there was no answer in time.

        """
        async with asyncio.timeout(None) as limit:
            # Without outage tolerance attempts are limited anyway.
            if self.tolerant:
                self._attempts[limit] = held
                if self.must_end:
                    limit.reschedule(asyncio.get_running_loop().time() + LAST_CALL_S)
            try:
                yield
            finally:
                self._attempts.pop(limit, None)


class Tokens:
    """The newest token of a task. Airflow renews it with answers; those to heartbeats come when nobody waits for them.

    A token is opaque here. Newer than what is known is one that came with an answer, and one from the supervisor that
    was never seen.
    """

    def __init__(self) -> None:
        self.newest: str | None = None
        self._older: deque[str] = deque(maxlen=_OLD_TOKENS)

    def note(self, token: str) -> str:
        """Note a token that is in use or has come; return the newest."""
        if self.newest is None:
            self.newest = token
        elif token not in (self.newest, *self._older):
            self._older.append(self.newest)
            self.newest = token
        return self.newest

    def refresh(self, sent: str, headers: dict[str, str]) -> dict[str, str]:
        """Return the headers of an answer to a call with the token `sent`, with a newer token if there is one."""
        for name, value in headers.items():
            if name.lower() == REFRESHED_HEADER.lower():
                self.note(value)
                return headers
        return headers if self.newest in (None, sent) else {**headers, REFRESHED_HEADER: self.newest}


class Verdict:
    """How the last heartbeat that reached Airflow was answered: that is the answer to the next one."""

    def __init__(self) -> None:
        self._refused: Answer | None = None

    def note(self, answer: Answer) -> None:
        """Note an answer other than "try again"."""
        refused = 400 <= answer.status < 500
        self._refused = Answer(answer.status, answer.body, {"Content-Type": "application/json"}) if refused else None

    def take(self) -> Answer:
        """Return the answer to a heartbeat."""
        answer = self._refused
        if answer is None:
            return Answer(204)
        if answer.status not in OVER:
            # Once each: after three failures in a row a supervisor ends its task.
            self._refused = None
        return answer
