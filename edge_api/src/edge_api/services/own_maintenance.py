"""Maintenance that the worker's own side wishes for: its host, or its health check."""

import logging

from sqlalchemy import Executable

from edge_api.errors import DatabaseAwayError
from edge_api.services.heartbeats import clean_text
from edge_api.services.session import Session
from edge_protocol.frames import BY_HEALTH, BY_HOST, Maintained, Maintenance
from edge_store import audit, fleet

log = logging.getLogger(__name__)


async def take_maintenance(session: Session, frame: Maintenance) -> None:
    """Store the wish with its entry of the audit trail, then tell the worker what is desired now.

    From the commit on no job is claimed for a worker that wishes to enter, as for an administrator's request.
    """
    name = session.worker
    action = "worker.maintenance" if frame.on else "worker.exit_maintenance"
    by = BY_HOST if frame.source == "host" else BY_HEALTH
    comment = None if frame.comment is None else clean_text(frame.comment)
    entry = audit.NewAudit(f"worker:{name}", action, f"worker/{name}", {"comment": comment, "by": by})
    try:
        async with session.hub.database.transaction("own_maintenance") as connection:
            if (await connection.execute(_statement(frame, name, comment, by))).first() is not None:
                await connection.execute(audit.add([entry]))
    except DatabaseAwayError as error:
        log.warning("a wish for maintenance was not stored: %s", error, extra={"worker": name})
        session.end("database_away", "The database is away. Connect again; the wish is kept.", close_code=1013)
        return
    session.track(session.hub.wishes.submit(session), lambda _: _confirm(session, frame))


def _statement(frame: Maintenance, name: str, comment: str | None, by: str) -> Executable:
    own_only = frame.source == "health"
    if frame.on:
        return fleet.request_maintenance([name], comment, by, own_only=own_only)
    return fleet.exit_maintenance([name], only_by=by if own_only else None)


def _confirm(session: Session, frame: Maintenance) -> None:
    if session.ending is None:
        session.send_wishes()
        session.send(Maintained(id=frame.id))
