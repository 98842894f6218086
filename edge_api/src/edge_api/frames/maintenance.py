"""Maintenance that the worker's own side wishes for: its host, or its health check."""

import logging
from typing import Any

from sqlalchemy import Executable

from edge_api.errors import DatabaseAwayError
from edge_api.frames.heartbeat import clean_text
from edge_api.sessions.session import Session
from edge_protocol.frames import BY_HEALTH, BY_HOST, Maintained, Maintenance
from edge_store.identity import audit
from edge_store.workers import requests

log = logging.getLogger(__name__)


async def take_maintenance(session: Session, frame: Maintenance) -> None:
    """Store the wish, then tell the worker what is desired now.

    From the commit on no job is claimed for a worker that wishes to enter, as for an administrator's request.
    """
    by = BY_HOST if frame.source == "host" else BY_HEALTH
    own_only = frame.source == "health"
    try:
        if frame.on:
            await enter(session, frame.comment, by, own_only=own_only)
        else:
            statement = requests.exit_maintenance([session.worker], only_by=by if own_only else None)
            await _store(session, statement, "worker.exit_maintenance", {"by": by})
    except DatabaseAwayError as error:
        log.warning("a wish for maintenance was not stored: %s", error, extra={"worker": session.worker})
        session.end("database_away", "The database is away. Connect again; the wish is kept.", close_code=1013)
        return
    session.track(session.hub.wishes.submit(session), lambda _: _confirm(session, frame))


async def enter(session: Session, comment: str | None, by: str, *, own_only: bool) -> None:
    """Store the wish to enter maintenance; `own_only` leaves one alone that somebody else has wished for.

    Raises:
        DatabaseAwayError: it is not stored.

    """
    comment = None if comment is None else clean_text(comment)
    statement = requests.request_maintenance([session.worker], comment, by, own_only=own_only)
    await _store(session, statement, "worker.maintenance", {"comment": comment, "by": by})


async def _store(session: Session, statement: Executable, action: str, detail: dict[str, Any]) -> None:
    entry = audit.NewAudit(f"worker:{session.worker}", action, f"worker/{session.worker}", detail)
    async with session.hub.database.transaction("own_maintenance") as connection:
        if (await connection.execute(statement)).first() is not None:
            await connection.execute(audit.add([entry]))


def _confirm(session: Session, frame: Maintenance) -> None:
    if session.ending is None:
        session.send_wishes()
        session.send(Maintained(id=frame.id))
