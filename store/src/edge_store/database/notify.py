"""Hints between processes over PostgreSQL's LISTEN/NOTIFY.

A notification is only a hint: it rides the commit that it tells of, it may be lost with a connection, and whoever
listens also looks by itself from time to time. One channel; the payload is `KIND TEXT`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import text

from edge_store.database.statement import Command

CHANNEL = "edge"
"""Also written out in the statements that send a hint by themselves."""

Kind = Literal["job", "cancel", "desired", "session", "credential", "fleet"]
"""job: a queue has work. cancel: a lease was revoked. desired: a worker's wishes changed. session: a worker's session
was taken over. credential: one was revoked. fleet: heartbeats had news. The text is the queue, worker name or
credential id."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One hint."""

    kind: Kind
    text: str

    @property
    def payload(self) -> str:
        """The text on the wire."""
        return f"{self.kind} {self.text}"


def parse(payload: str) -> Notification | None:
    """Return the notification in a payload, or None for one of a newer version."""
    for kind in get_args(Kind):
        if payload.startswith(f"{kind} "):
            return Notification(kind, payload.removeprefix(f"{kind} "))
    return None


def notify(notification: Notification) -> Command:
    """Send a hint with the current transaction's commit."""
    executable = text("SELECT pg_notify(:channel, :payload)")
    return Command("notify", executable.bindparams(channel=CHANNEL, payload=notification.payload))
