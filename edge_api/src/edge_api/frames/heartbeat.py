"""Heartbeats of all workers, written by one statement a second."""

import asyncio
import dataclasses
import logging
import math
from collections.abc import Callable
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_store.workers import agents

PERIOD_MOST_S: Final = 1.0

log = logging.getLogger(__name__)


class Heartbeats:
    """Keeps the latest heartbeat of each worker until it is written.

    `superseded` is called with the worker and session of a heartbeat that was not written, since another session has
    taken the worker over.
    """

    def __init__(
        self, database: Database, heartbeat_interval_s: float, superseded: Callable[[str, UUID], None]
    ) -> None:
        self._database = database
        self._period_s = min(PERIOD_MOST_S, heartbeat_interval_s / 3)
        self._superseded = superseded
        self._latest: dict[str, agents.Beat] = {}

    def put(self, beat: agents.Beat) -> None:
        """Note a heartbeat; an earlier one of the same worker that is not written yet is replaced."""
        before = self._latest.get(beat.name)
        self._latest[beat.name] = beat if before is None else _after(before, beat)

    async def run(self) -> NoReturn:
        """Write for ever."""
        while True:
            await asyncio.sleep(self._period_s)
            if self._latest:
                await self.flush()

    async def flush(self) -> None:
        """Write what there is; it is kept if the database is away."""
        beats, self._latest = self._latest, {}
        # Names in order, so that statements of several replicas can't lock each other out.
        batch = [beats[name] for name in sorted(beats)]
        try:
            rows = await self._database.rows(agents.heartbeats(batch), "heartbeats")
        except DatabaseAwayError as error:
            log.warning("heartbeats wait for the database: %s", error)
            newer, self._latest = self._latest, beats
            for beat in newer.values():
                self.put(beat)
            return
        except DatabaseRefusedError:
            log.exception("the database refuses heartbeats")
            return
        written = {row.name for row in rows}
        for beat in batch:
            if beat.name not in written:
                self._superseded(beat.name, beat.session_id)


def _after(before: agents.Beat, beat: agents.Beat) -> agents.Beat:
    return dataclasses.replace(beat, worked=beat.worked or before.worked)


def clean_sysinfo(told: dict[str, float | int | str | None]) -> dict[str, float | int | str | None]:
    """Return what JSON in PostgreSQL can hold: finite numbers, text without NUL."""
    return {
        clean_text(key): clean_text(value) if isinstance(value, str) else value
        for key, value in told.items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }


def clean_text(text: str) -> str:
    """Return text that PostgreSQL can hold: it knows no NUL."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
