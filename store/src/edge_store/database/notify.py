"""Hints between processes over PostgreSQL's LISTEN/NOTIFY.

A notification is only a hint: it is sent with the commit that it is about, it may be lost with a connection, and every
listener also polls. There is one channel; the payload is `KIND TEXT`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import text

from edge_store.database.statement import Command

CHANNEL = "edge"
"""Statements that send hints contain the same name as text."""

Kind = Literal["job", "cancel", "desired", "session", "credential", "fleet"]
"""job: a queue has work. cancel: a job was revoked. desired: the desired state of a worker changed. session: a new
session took over a worker. credential: a credential was revoked or changed. fleet: heartbeats brought changes. The text
is the queue, the worker's name (for session with the session's ID) or the credential's ID."""


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
    """Return the notification in a payload, or None for a kind of a newer version."""
    for kind in get_args(Kind):
        if payload.startswith(f"{kind} "):
            return Notification(kind, payload.removeprefix(f"{kind} "))
    return None


def notify(notification: Notification) -> Command:
    """Send a hint with the current transaction's commit."""
    executable = text("SELECT pg_notify(:channel, :payload)")
    return Command("notify", executable.bindparams(channel=CHANNEL, payload=notification.payload))
