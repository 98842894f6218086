"""`report`: a task has ended. The job is finished, the report acknowledged, and the worker has room for another job."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from edge_api.database.batcher import LOCKED, Batcher, Later
from edge_api.database.pool import Database
from edge_api.database.storable import storable_text
from edge_api.metrics import Metrics
from edge_api.sessions.session import Session
from edge_protocol.frames import Ack, Report
from edge_store.jobs import leases

EXIT_CODES: Final = range(-(2**31), 2**31)


class ReportHandler:
    """Handles `report` frames, those of many workers in one statement."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self.batcher: Batcher[leases.JobReport, bool] = Batcher("reports", self._write)

    def handle(self, session: Session, frame: Report) -> None:
        """Finish the job, then acknowledge."""
        if frame.exit_code is not None and frame.exit_code not in EXIT_CODES:
            session.complain("report.exit_code: Input should be a 32-bit integer")
            return
        report = leases.JobReport(
            lease_id=frame.lease_id,
            worker=session.worker,
            outcome=frame.outcome,
            exit_code=frame.exit_code,
            error=None if frame.error is None else storable_text(frame.error),
        )
        session.leases.reporting(frame.lease_id, begun=True)
        weight = 0 if report.error is None else len(report.error)
        session.track(self.batcher.submit(report), partial(self._answer, session, frame.lease_id), weight)

    async def _write(self, items: Sequence[leases.JobReport]) -> list[bool | Later]:
        """Return for each report whether it counts: the first one, or a repeat of it, by the holder of the lease."""
        outcomes = {(item.lease_id, item.worker): item.outcome for item in items}
        found: dict[tuple[UUID, str], Later | bool] = {}
        for row in await self._database.rows(leases.report(items)):
            key = (row.lease_id, row.worker_name)
            found[key] = LOCKED if row.result == "locked" else True
            if row.result == "finished":
                self._metrics.jobs_finished.labels(outcomes[key]).inc()
        return [found.get((item.lease_id, item.worker), False) for item in items]

    @staticmethod
    def _answer(session: Session, lease: UUID, counts: bool) -> None:
        if not counts:
            session.fence(lease, "report")
            return
        session.send(Ack(of="report", lease_id=lease))
        session.release(lease)
