"""What happened to a worker, and how its host was doing."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel

from edge_protocol.admin.common import example


class WorkerEventKind(StrEnum):
    """Changes of a worker's observed state."""

    CONNECTED = "connected"
    """A session began. Detail: `started` (false: the same process connected again), `versions`, `cordon`."""
    DISCONNECTED = "disconnected"
    """It said bye. Detail: `requested`, whether an administrator had requested its shutdown."""
    LOST = "lost"
    """It was silent for too long. Detail: `last_heartbeat`, `jobs_lost`, `jobs_kept`."""
    JOBS_GIVEN_UP = "jobs_given_up"
    """It was out of contact for longer than jobs of it are kept. Detail: `last_heartbeat`, `jobs_lost`."""
    RECOVERED = "recovered"
    """It was lost and is heard again, in the same session."""
    MAINTENANCE_REACHED = "maintenance_reached"
    """It has finished its jobs and takes no others."""
    MAINTENANCE_LEFT = "maintenance_left"
    """It takes jobs again."""
    TERMINATING = "terminating"
    """It finishes its jobs and then stops."""
    CORDONED = "cordoned"
    """The edge API gives it no jobs. Detail: `reason`, a sentence about its version."""
    UNCORDONED = "uncordoned"
    """Its version is allowed again."""


class WorkerEvent(BaseModel):
    """A change of a worker's state, or an entry of the audit trail about it."""

    model_config = example(
        {
            "at": "2026-11-21T20:00:00Z",
            "source": "audit",
            "kind": "worker.maintenance",
            "actor": "user:anna via admin:airflow ui:0198c2a0-0000-7000-8000-0000000000aa",
            "detail": {"comment": "replacing the disk"},
        }
    )

    at: datetime
    source: Literal["state", "audit"]
    kind: str
    """A `WorkerEventKind`, or the action of the audit entry."""
    actor: str | None
    """Of the audit entry."""
    detail: dict[str, Any]


class WorkerEventPage(BaseModel):
    """What happened to a worker, newest first."""

    items: list[WorkerEvent]
    next: str | None = None


class WorkerSample(BaseModel):
    """How a worker was doing in one minute. None: its system does not report that."""

    model_config = example(
        {
            "at": "2026-11-21T20:00:03Z",
            "slots": 8,
            "slots_used": 1,
            "jobs_active": 1,
            "load1": 0.4,
            "cpu_percent": 12.5,
            "memory_percent": 40.1,
            "disk_free_bytes": 21474836480,
        }
    )

    at: datetime
    slots: int
    slots_used: int
    jobs_active: int
    load1: float | None
    cpu_percent: float | None
    memory_percent: float | None
    disk_free_bytes: int | None


class WorkerMetrics(BaseModel):
    """Samples of the last hour, oldest first, at most one a minute. Minutes without contact have none."""

    items: list[WorkerSample]
