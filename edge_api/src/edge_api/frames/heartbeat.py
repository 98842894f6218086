"""`heartbeat`: a sign of life, the worker's own view of itself, and the leases that it holds.

The latest heartbeat of each worker is written by one statement a second. The leases are compared with the session's
view at once, and where the two sides differ, the store decides.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.batcher import LOCKED, Batcher, Later
from edge_api.database.pool import Database
from edge_api.database.storable import storable_values
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.fleet.samples import sample_of
from edge_api.metrics import Metrics
from edge_api.sessions.lease_checks import LeaseChecks
from edge_api.sessions.session import Session
from edge_protocol.frames import Heartbeat
from edge_store.jobs import leases
from edge_store.workers import agents

PERIOD_MOST_S: Final = 1.0

log = logging.getLogger(__name__)


class HeartbeatHandler:
    """Handles `heartbeat` frames.

    `supersede` is called with the worker and session of a heartbeat that was not written because another session has
    taken the worker over, `acknowledge` with those and the mark of one that was written and asked for it.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        checks: LeaseChecks,
        heartbeat_interval_s: float,
        supersede: Callable[[str, UUID], None],
        acknowledge: Callable[[str, UUID, int], None],
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._checks = checks
        self._period_s = min(PERIOD_MOST_S, heartbeat_interval_s / 3)
        self._supersede = supersede
        self._acknowledge = acknowledge
        self._latest: dict[str, agents.Beat] = {}
        self._marks: dict[str, int] = {}
        """Of the latest heartbeats that asked for an acknowledgement."""
        self.losses: Batcher[leases.Loss, None] = Batcher("losses", self._lose)

    def handle(self, session: Session, frame: Heartbeat) -> None:
        """Keep the heartbeat for the next write, and compare the leases."""
        minute = int(time.time() // 60)
        self._keep(
            agents.Beat(
                name=session.worker,
                session_id=session.id,
                jobs_active=frame.jobs_active,
                free_slots=frame.free_slots,
                maintenance_acknowledged=frame.maintenance_acknowledged,
                terminating=frame.terminating,
                initialised=frame.initialised,
                worked=session.worked,
                sysinfo=storable_values(frame.sysinfo),
                sample=None if minute == session.sampled_minute else sample_of(frame.sysinfo),
            )
        )
        if frame.mark is not None:
            self._marks[session.worker] = frame.mark
        session.worked = False
        session.sampled_minute = minute
        if session.principal.expired:
            session.end_expired()
            return
        session.withdraw(withdrawn=frame.terminating or frame.maintenance_acknowledged or not frame.initialised)
        if frame.desired_version < session.desired.version:
            session.send_desired()
        self._compare(session, frame.held)

    def _keep(self, beat: agents.Beat) -> None:
        """Replace an earlier heartbeat of the worker that is not written yet."""
        before = self._latest.get(beat.name)
        if before is not None:
            beat = dataclasses.replace(beat, worked=beat.worked or before.worked, sample=beat.sample or before.sample)
        self._latest[beat.name] = beat

    # ---- leases ----

    def _compare(self, session: Session, held: Sequence[UUID]) -> None:
        found = session.leases.compare(held, time.monotonic())
        if found.unknown or found.overdue:
            self._checks.check(session, [*found.unknown, *found.overdue])
        for lease in found.gone:
            log.warning("a task is gone without a report", extra={"worker": session.worker, "lease": lease})
            session.leases.reporting(lease, begun=True)
            loss = leases.Loss(
                lease, session.id, f"edge worker {session.worker} has the task no more and sent no report"
            )
            session.track(self.losses.submit(loss), partial(_release, session, lease))

    async def _lose(self, losses: Sequence[leases.Loss]) -> list[Later | None]:
        rows = await self._database.rows(leases.lose(losses))
        locked = {row.lease_id for row in rows if row.locked}
        self._metrics.jobs_finished.labels("lost").inc(len(rows) - len(locked))
        return [LOCKED if loss.lease_id in locked else None for loss in losses]

    # ---- the write, once a second ----

    async def run(self) -> NoReturn:
        """Write forever."""
        while True:
            await asyncio.sleep(self._period_s)
            if self._latest:
                await self.flush()

    async def flush(self) -> None:
        """Write the heartbeats that are kept; while the database is away they stay kept."""
        beats, self._latest = self._latest, {}
        marks, self._marks = self._marks, {}
        # Names in order, so that statements of several replicas can't lock each other out.
        batch = [beats[name] for name in sorted(beats)]
        try:
            rows = await self._database.rows(agents.heartbeats(batch))
        except DatabaseAwayError as error:
            log.warning("heartbeats wait for the database: %s", error)
            newer, self._latest = self._latest, beats
            for beat in newer.values():
                self._keep(beat)
            self._marks = marks | self._marks
            return
        except DatabaseRefusedError:
            log.exception("the database refuses heartbeats")
            return
        written = {row.name for row in rows}
        for beat in batch:
            if beat.name not in written:
                self._supersede(beat.name, beat.session_id)
            elif beat.name in marks:
                self._acknowledge(beat.name, beat.session_id, marks[beat.name])


def _release(session: Session, lease: UUID, _: None) -> None:
    session.release(lease)
