"""Workers, and what is done with them."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_protocol.admin.common import Comment, example
from edge_protocol.frames import Versions
from edge_protocol.limits import CONCURRENCY_MAX, QueueName, WorkerName
from edge_protocol.worker_state import WorkerState

_WORKER_EXAMPLE: dict[str, Any] = {
    "name": "plant-7",
    "state": "maintenance pending",
    "team": None,
    "queues": ["press", "paint"],
    "queues_added": [],
    "queues_removed": [],
    "concurrency": 8,
    "concurrency_override": None,
    "jobs_active": 1,
    "slots_free": 7,
    "slots_used": 1,
    "maintenance": {"comment": "replacing the disk", "by": "anna", "at": "2026-11-21T20:00:00Z"},
    "shutdown": False,
    "cordon": {"reasons": [{"code": "maintenance", "message": "In maintenance: replacing the disk"}]},
    "protocol": 2,
    "versions": {"worker": "0.1.0", "airflow": "3.3.2", "python": "3.11.9", "platform": "Linux-6.1-x86_64"},
    "sysinfo": {"cpu_percent": 12.5},
    "first_online": "2026-11-20T08:00:00Z",
    "last_heartbeat": "2026-11-21T20:00:03Z",
    "revision": 81234,
}


class ReasonCode(StrEnum):
    """Why a worker is given no job, or not this one."""

    MAINTENANCE = "maintenance"
    """An administrator, or the worker's own host, asked for maintenance."""
    SHUTDOWN = "shutdown"
    """It is asked to shut down."""
    TERMINATING = "terminating"
    """It drains in order to stop."""
    VERSION = "version"
    """Its version is outside the skew policy."""
    STARTING = "starting"
    """Its runner still loads."""
    OFFLINE = "offline"
    """It said good-bye."""
    UNKNOWN = "unknown"
    """It has not been heard of for three heartbeats."""
    QUEUE = "queue"
    """It does not serve the job's queue."""
    TEAM = "team"
    """It belongs to another team than the job."""
    SLOTS_NEVER = "slots_never"
    """The job needs more slots than the worker has in all."""
    SLOTS_BUSY = "slots_busy"
    """The job needs more slots than are free now."""


class Reason(BaseModel):
    """A reason for programs (`code`) and one for people (`message`, a sentence)."""

    code: ReasonCode
    message: str


class MaintenanceView(BaseModel):
    """The maintenance that is wished for."""

    comment: str | None
    by: str | None
    at: datetime | None


class CordonView(BaseModel):
    """Why the worker may not be given any job; `reasons` is empty where it may."""

    reasons: list[Reason]


class WorkerView(BaseModel):
    """A worker as people see it."""

    model_config = example(_WORKER_EXAMPLE)

    name: str
    state: WorkerState
    team: str | None
    queues: list[str]
    """Effective queues: asked for, granted, added and removed. `["*"]`: any (only v1 workers without a list)."""
    queues_added: list[str]
    queues_removed: list[str]
    concurrency: int
    """Effective slots in all."""
    concurrency_override: int | None
    """Set by an administrator; None: as the worker says."""
    jobs_active: int
    slots_free: int
    slots_used: int
    maintenance: MaintenanceView | None
    shutdown: bool
    """A shutdown is requested and not yet done."""
    cordon: CordonView
    protocol: int
    """2, or 1 for a worker of Airflow's edge3 provider."""
    versions: Versions
    sysinfo: dict[str, Any]
    first_online: datetime
    last_heartbeat: datetime
    revision: int
    """Grows with every change that people see; equal revisions of a worker are equal views but for the clock."""


class WorkerPage(BaseModel):
    """Workers by name."""

    items: list[WorkerView]
    next: str | None = None


class MaintenanceRequest(BaseModel):
    """Enter maintenance, or change the comment of one. Why, for whoever finds the worker cordoned."""

    model_config = example({"comment": "replacing the disk"})

    comment: Comment


class WorkerPatch(BaseModel):
    """Changes of what is desired; a field that is left out stays as it is."""

    model_config = example({"concurrency": 4, "add_queues": ["paint"], "remove_queues": ["press"]}, extra="forbid")

    concurrency: int | None = Field(default=None, ge=1, le=CONCURRENCY_MAX)
    """Null takes an override back: the worker's own setting counts again."""
    add_queues: list[QueueName] = Field(default_factory=list, max_length=256)
    remove_queues: list[QueueName] = Field(default_factory=list, max_length=256)

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        both = set(self.add_queues) & set(self.remove_queues)
        if both:
            raise ValueError(f"a queue can't be added and removed at once: {', '.join(sorted(both))[:300]}")
        return self


class WorkerFilter(BaseModel):
    """Which workers: all conditions that are given must hold."""

    model_config = ConfigDict(extra="forbid")

    state: list[WorkerState] | None = None
    """Any of these states. In a URL: repeat the parameter."""
    queue: list[QueueName] | None = Field(default=None, max_length=256)
    """Serves any of these queues. In a URL: repeat the parameter."""
    team: str | None = Field(default=None, max_length=256)
    name: str | None = Field(default=None, min_length=1, max_length=512)
    """A glob: `*`, `?`, `[abc]`."""


class BulkAction(StrEnum):
    """What can be done to many workers at once."""

    MAINTENANCE = "maintenance"
    EXIT_MAINTENANCE = "exit_maintenance"
    SHUTDOWN = "shutdown"
    CANCEL_SHUTDOWN = "cancel_shutdown"
    REMOVE = "remove"


class BulkRequest(BaseModel):
    """One action for the workers named, or for those that a filter finds (an empty filter: all)."""

    model_config = example(
        {"action": "maintenance", "comment": "network works", "filter": {"name": "plant-*", "queue": ["press"]}},
        extra="forbid",
    )

    action: BulkAction
    comment: Comment | None = None
    """Required for `maintenance`."""
    names: list[WorkerName] | None = Field(default=None, max_length=10_000)
    filter: WorkerFilter | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.names is None) == (self.filter is None):
            raise ValueError("give either names or a filter")
        if (self.action is BulkAction.MAINTENANCE) != (self.comment is not None):
            raise ValueError("a comment belongs to the action maintenance, and that action needs one")
        return self


class BulkResult(BaseModel):
    """How the action went for one worker. `code` is `done`, or that of the problem that a single call would give."""

    name: str
    ok: bool
    code: str
    detail: str


class BulkResponse(BaseModel):
    """One result for each worker, by name."""

    results: list[BulkResult]
