"""Workers, and actions on them."""

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
    "credential_expires_at": "2027-02-18T08:00:00Z",
    "revision": 81234,
}


class ReasonCode(StrEnum):
    """Why a worker is given no jobs, or not this job."""

    MAINTENANCE = "maintenance"
    """An administrator or the worker's host requested maintenance."""
    SHUTDOWN = "shutdown"
    """Its shutdown was requested."""
    TERMINATING = "terminating"
    """It drains and then stops."""
    VERSION = "version"
    """Its version is outside the skew policy."""
    STARTING = "starting"
    """Its runner still loads."""
    OFFLINE = "offline"
    """It disconnected cleanly (bye)."""
    UNKNOWN = "unknown"
    """It has been silent for three heartbeats."""
    QUEUE = "queue"
    """It does not serve the job's queue."""
    TEAM = "team"
    """It belongs to another team than the job."""
    SLOTS_NEVER = "slots_never"
    """The job needs more slots than the worker has in total."""
    SLOTS_BUSY = "slots_busy"
    """The job needs more slots than are free now."""


class Reason(BaseModel):
    """A reason for programs (`code`) and one for people (`message`, a sentence)."""

    code: ReasonCode
    message: str


class MaintenanceView(BaseModel):
    """The requested maintenance."""

    comment: str | None
    by: str | None
    at: datetime | None


class CordonView(BaseModel):
    """Why the worker may not be given any jobs. `reasons` is empty if it may."""

    reasons: list[Reason]


class WorkerView(BaseModel):
    """A worker as people see it."""

    model_config = example(_WORKER_EXAMPLE)

    name: str
    state: WorkerState
    team: str | None
    queues: list[str]
    """Effective queues: requested, granted, added and removed. `["*"]`: any (only v1 workers without a list)."""
    queues_added: list[str]
    queues_removed: list[str]
    concurrency: int
    """Effective total number of slots."""
    concurrency_override: int | None
    """Set by an administrator. None: the worker's own setting."""
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
    credential_expires_at: datetime | None = None
    """When its credential expires, or the successor that it has got meanwhile. None: a v1 worker, which has none."""
    outage_tolerance_s: int = 0
    """How long its running tasks survive without contact; 0: they do not."""
    jobs_kept_until: datetime | None = None
    """It is out of contact: when the last of its running jobs is given up, unless it comes back. None: none is kept."""
    revision: int
    """Grows with every visible change. Views of a worker with the same revision differ in times only."""


class WorkerPage(BaseModel):
    """Workers by name."""

    items: list[WorkerView]
    next: str | None = None


class MaintenanceRequest(BaseModel):
    """Enter maintenance, or change its comment. The comment says why, for whoever finds the worker cordoned."""

    model_config = example({"comment": "replacing the disk"})

    comment: Comment


class WorkerPatch(BaseModel):
    """Changes of the desired state. Omitted fields are left alone."""

    model_config = example({"concurrency": 4, "add_queues": ["paint"], "remove_queues": ["press"]}, extra="forbid")

    concurrency: int | None = Field(default=None, ge=1, le=CONCURRENCY_MAX)
    """Null removes an override: the worker's own setting applies again."""
    add_queues: list[QueueName] = Field(default_factory=list, max_length=256)
    remove_queues: list[QueueName] = Field(default_factory=list, max_length=256)

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        both = set(self.add_queues) & set(self.remove_queues)
        if both:
            raise ValueError(f"a queue can't be added and removed at once: {', '.join(sorted(both))[:300]}")
        return self


class WorkerFilter(BaseModel):
    """Selects workers: all given conditions must hold."""

    model_config = ConfigDict(extra="forbid")

    state: list[WorkerState] | None = None
    """Any of these states. In a URL: repeat the parameter."""
    queue: list[QueueName] | None = Field(default=None, max_length=256)
    """Serves any of these queues. In a URL: repeat the parameter."""
    team: str | None = Field(default=None, max_length=256)
    name: str | None = Field(default=None, min_length=1, max_length=512)
    """A glob: `*`, `?`, `[abc]`."""


class BulkAction(StrEnum):
    """Actions on many workers at once."""

    MAINTENANCE = "maintenance"
    EXIT_MAINTENANCE = "exit_maintenance"
    SHUTDOWN = "shutdown"
    CANCEL_SHUTDOWN = "cancel_shutdown"
    REMOVE = "remove"


class BulkRequest(BaseModel):
    """One action on the named workers, or on those that a filter selects (an empty filter: all)."""

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
    """The result for one worker. `code` is `done`, or the problem code of the corresponding single request."""

    name: str
    ok: bool
    code: str
    detail: str


class BulkResponse(BaseModel):
    """One result for each worker, by name."""

    results: list[BulkResult]
