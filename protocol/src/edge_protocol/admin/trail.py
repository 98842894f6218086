"""The audit trail and the change stream."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from edge_protocol.admin.common import example


class AuditEntry(BaseModel):
    """Something that was done or refused."""

    model_config = example(
        {
            "id": 12,
            "at": "2026-11-21T20:00:00Z",
            "actor": "admin:anna:0198c2a0-0000-7000-8000-0000000000aa",
            "action": "worker.maintenance",
            "object": "worker/plant-7",
            "detail": {"comment": "replacing the disk"},
        }
    )

    id: int
    at: datetime
    actor: str
    """`ROLE:LABEL:CREDENTIAL_ID`, `user:NAME via ROLE:LABEL:CREDENTIAL_ID` (a program called on behalf of a person),
    `worker:NAME`, `command line`, or the address of a caller who was refused."""
    action: str
    object: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """The audit trail, newest first."""

    items: list[AuditEntry]
    next: str | None = None


class ChangeKind(StrEnum):
    """Events of the change stream. All except the first carry an ID for `Last-Event-ID`, valid on any replica."""

    RESET = "reset"
    """Discard what you know: the whole fleet follows. Data: `{}`."""
    WORKER = "worker"
    """A worker is new or has changed. Data: `WorkerView`."""
    REMOVED = "removed"
    """A worker was removed. Data: `RemovedWorker`."""
    READY = "ready"
    """The initial events are complete: what was sent so far is up to date. Data: `{}`."""


class RemovedWorker(BaseModel):
    """A worker that was removed from the fleet."""

    name: str
