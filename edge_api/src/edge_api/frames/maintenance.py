"""`maintenance`: the worker's own side asks for maintenance or for its end: its host, or its health check."""

import logging
from typing import Any

from edge_api.database.pool import Database
from edge_api.database.storable import storable_text
from edge_api.errors import DatabaseAwayError
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.session import Session
from edge_protocol.frames import BY_HEALTH, BY_HOST, Maintained, Maintenance
from edge_store.database.statement import Statement
from edge_store.identity import audit
from edge_store.workers import requests

log = logging.getLogger(__name__)


class MaintenanceHandler:
    """Handles `maintenance` frames."""

    def __init__(self, database: Database, desired: DesiredUpdates) -> None:
        self._database = database
        self._desired = desired

    async def handle(self, session: Session, frame: Maintenance) -> None:
        """Store the request, then send the worker its desired state and the confirmation.

        Once committed, the worker is given no more jobs, as with an administrator's request.
        """
        by = BY_HOST if frame.source == "host" else BY_HEALTH
        own_only = frame.source == "health"
        try:
            if frame.on:
                await self.enter(session.worker, frame.comment, by, own_only=own_only)
            else:
                statement = requests.exit_maintenance([session.worker], only_by=by if own_only else None)
                await self._store(session.worker, statement, "worker.exit_maintenance", {"by": by})
        except DatabaseAwayError as error:
            log.warning("a maintenance request was not stored: %s", error, extra={"worker": session.worker})
            session.end_database_away("the request is kept")
            return

        def confirm() -> None:
            if session.ending is None:
                session.send_desired()
                session.send(Maintained(id=frame.id))

        self._desired.refresh_then(session, confirm)

    async def enter(self, worker: str, comment: str | None, by: str, *, own_only: bool) -> None:
        """Store a request to enter maintenance; `own_only` leaves a request of somebody else as it is.

        Raises:
            DatabaseAwayError: it is not stored.

        """
        comment = None if comment is None else storable_text(comment)
        statement = requests.enter_maintenance([worker], comment, by, own_only=own_only)
        await self._store(worker, statement, "worker.maintenance", {"comment": comment, "by": by})

    async def _store(
        self, worker: str, statement: Statement[requests.ChangedWorker], action: str, detail: dict[str, Any]
    ) -> None:
        entry = audit.NewAudit(f"worker:{worker}", action, f"worker/{worker}", detail)
        async with self._database.transaction("own_maintenance") as transaction:
            if await transaction.rows(statement):
                await transaction.run(audit.add([entry]))
