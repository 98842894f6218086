"""The messages on the local socket."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from edge_protocol.worker_state import WorkerState

LINE_MAX = 4 << 20
"""Bytes of one line; a status lists up to 10,000 jobs."""

_IN_MAINTENANCE = frozenset(
    {
        WorkerState.MAINTENANCE_REQUEST,
        WorkerState.MAINTENANCE_PENDING,
        WorkerState.MAINTENANCE_MODE,
        WorkerState.MAINTENANCE_EXIT,
    }
)


class JobStatus(BaseModel):
    """A job that the worker holds."""

    job_id: UUID
    lease_id: UUID
    kind: str
    slots: int
    phase: str
    log_path: str | None


class WorkerStatus(BaseModel):
    """The agent as it sees itself. `job_count` to `drain` are named as in the status of Airflow's edge provider."""

    name: str
    state: WorkerState
    job_count: int
    maintenance: bool
    maintenance_comments: str | None
    drain: bool
    maintenance_by: str | None
    maintenance_stored: bool
    """False: requested here, and not yet confirmed by the edge API."""
    connected: bool
    transport: str | None
    api_url: str
    team: str | None
    queues: list[str] | None
    """Effective queues; None before the edge API has sent them."""
    concurrency: int
    free_slots: int
    undelivered: int
    """Leases of which a report or a part of the log is still to be delivered."""
    health: str | None
    """Why the health check failed; None: it passed, or there is none."""
    credential_expires_at: datetime
    pid: int
    version: str
    jobs: list[JobStatus]


class Request(BaseModel):
    """One command, the first line of a connection."""

    command: Literal["status", "maintenance", "stop"]
    on: bool = False
    comment: str | None = None
    wait: bool = False
    token: str | None = Field(default=None, repr=False)
    """For the loopback port, which every user of the host can reach."""


class Answer(BaseModel):
    """One line back; more follow until one is `final`, or until the agent ends."""

    status: WorkerStatus | None = None
    final: bool = False
    reached: bool = True
    """Final answers: whether the awaited state was reached."""
    problem: str | None = None


def verdict(request: Request, status: WorkerStatus) -> Answer | None:
    """Return the final answer to a command that waits, or None to go on waiting. A stop ends with the connection."""
    if request.command == "maintenance":
        if request.on and status.state is WorkerState.MAINTENANCE_MODE:
            return Answer(status=status, final=True)
        if request.on and not status.maintenance:
            return Answer(status=status, final=True, reached=False, problem="maintenance was ended by somebody else")
        if not request.on and status.state not in _IN_MAINTENANCE:
            return Answer(status=status, final=True)
    return None
