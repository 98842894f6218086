"""Bodies and paths of the admin API (`/edge_worker/admin/v1`): one contract for server, CLI, operator and UI.

Every call but the OpenAPI description carries `Authorization: Bearer CREDENTIAL` of role admin (everything) or read
(GET only). Errors are `edge_protocol.rest.Problem`. Lists are pages: `next` is passed back as `cursor`; None: the end.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edge_protocol.frames import Versions
from edge_protocol.job_state import JobState
from edge_protocol.limits import COMMENT_MAX, CONCURRENCY_MAX, QueueName, WorkerName
from edge_protocol.worker_state import WorkerState

ADMIN_PATH = "/edge_worker/admin/v1"
WORKERS_PATH = f"{ADMIN_PATH}/workers"
"""GET: list. `/{name}` GET, PATCH, DELETE; `/{name}/maintenance` and `/{name}/shutdown` PUT, DELETE;
`/{name}/credentials` DELETE: revoke all of them. `/bulk` POST."""
QUEUES_PATH = f"{ADMIN_PATH}/queues"
"""GET: list. `/{queue}` GET; the name may hold slashes."""
JOBS_PATH = f"{ADMIN_PATH}/jobs"
"""GET: list. `/{id}` GET; `/{id}/explain` GET."""
TOKENS_PATH = f"{ADMIN_PATH}/tokens"
"""Join tokens. GET, POST; `/{id}` DELETE: revoke."""
CREDENTIALS_PATH = f"{ADMIN_PATH}/credentials"
"""GET, POST; `/{id}` GET, PATCH: change which queues a worker's grants, DELETE: revoke."""
AUDIT_PATH = f"{ADMIN_PATH}/audit"
CHANGES_PATH = f"{ADMIN_PATH}/changes"
"""Server-sent events, see `ChangeKind`."""
OPENAPI_PATH = f"{ADMIN_PATH}/openapi.json"

PAGE_DEFAULT = 100
PAGE_MAX = 1000
LABEL_MAX = 128
"""Characters of the name of a credential."""

Comment = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=COMMENT_MAX)]
Lifetime = Annotated[int, Field(ge=1, le=10 * 366 * 86400)]
"""Seconds, up to ten years."""

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
_JOB_EXAMPLE: dict[str, Any] = {
    "id": "0198c2a0-0000-7000-8000-000000000001",
    "kind": "task",
    "state": "queued",
    "queue": "press",
    "team": None,
    "priority": 1,
    "slots": 4,
    "dag_id": "stamping",
    "task_id": "inspect",
    "run_id": "scheduled__2026-11-21T00:00:00+00:00",
    "map_index": -1,
    "try_number": 1,
    "worker": None,
    "queued_at": "2026-11-21T20:00:00Z",
    "leased_at": None,
    "started_at": None,
    "finished_at": None,
    "exit_code": None,
    "error": None,
}


def _example(value: dict[str, Any], extra: Literal["ignore", "forbid"] = "ignore") -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]}, extra=extra)


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

    model_config = _example(_WORKER_EXAMPLE)

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

    model_config = _example({"comment": "replacing the disk"})

    comment: Comment


class WorkerPatch(BaseModel):
    """Changes of what is desired; a field that is left out stays as it is."""

    model_config = _example({"concurrency": 4, "add_queues": ["paint"], "remove_queues": ["press"]}, extra="forbid")

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

    model_config = _example(
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


class QueueView(BaseModel):
    """Backlog and room of a queue."""

    model_config = _example(
        {
            "queue": "press",
            "depth": 12,
            "oldest_s": 4.2,
            "slots_free": 7,
            "slots_used": 1,
            "workers_capable": 2,
            "workers_cordoned": 1,
        }
    )

    queue: str
    depth: int
    """Jobs that wait."""
    oldest_s: float
    """Seconds that the oldest of them has waited; 0 where none waits."""
    slots_free: int
    """Over the workers that may be given jobs now."""
    slots_used: int
    """Over all live workers of the queue; workers of several queues count in each."""
    workers_capable: int
    """Live workers that serve the queue and may be given jobs."""
    workers_cordoned: int
    """Live workers that serve it and may not."""


class QueueList(BaseModel):
    """All queues that have a job waiting or a worker, by name."""

    items: list[QueueView]


class JobView(BaseModel):
    """A job, without its workload, which holds the task's token."""

    model_config = _example(_JOB_EXAMPLE)

    id: UUID
    kind: Literal["task", "callback"]
    state: JobState
    queue: str
    team: str | None
    priority: int
    slots: int
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    worker: str | None
    queued_at: datetime
    leased_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None


class JobPage(BaseModel):
    """Jobs, the newest queued first."""

    items: list[JobView]
    next: str | None = None


class Verdict(StrEnum):
    """Why a job is where it is."""

    FINISHED = "finished"
    RUNNING = "running"
    LEASED = "leased"
    """Given to a worker that has not accepted yet."""
    DISPATCHING = "dispatching"
    """A worker could take it: it is about to be given out."""
    NO_WORKER = "no_worker"
    """No worker of the fleet serves the queue."""
    TEAM = "team"
    """Workers serve the queue, but none of them for the job's team."""
    GONE = "gone"
    """All workers that would do are offline or unknown."""
    CORDONED = "cordoned"
    """All live workers that would do are in maintenance or shutting down."""
    VERSION = "version"
    """All live workers that would do are cordoned for their version."""
    STARTING = "starting"
    """All workers that would do are starting."""
    SLOTS_NEVER = "slots_never"
    """No worker that would do has as many slots as the job needs."""
    SLOTS_BUSY = "slots_busy"
    """Workers would do, but not enough of their slots are free now."""


class WorkerVerdict(BaseModel):
    """Why one worker does not run the job; no reasons: it could."""

    name: str
    reasons: list[Reason]


class Explanation(BaseModel):
    """The answer to "why is my job not starting?"."""

    model_config = _example(
        {
            "job": _JOB_EXAMPLE,
            "verdict": "slots_busy",
            "message": "The job needs 4 slots; the most that any worker of queue press has free now is 2 (plant-7). "
            "It starts when a worker has finished enough of its jobs.",
            "workers": [
                {
                    "name": "plant-7",
                    "reasons": [{"code": "slots_busy", "message": "2 of 8 slots are free, the job needs 4."}],
                }
            ],
        }
    )

    job: JobView
    verdict: Verdict
    message: str
    """One or two sentences a human can act on."""
    workers: list[WorkerVerdict]
    """The workers that serve the queue (of any team); at most 100, the nearest to a yes first."""


class TokenRequest(BaseModel):
    """A join token: what a worker that enrols with it may be."""

    model_config = _example(
        {"worker_pattern": "plant-*", "queues": ["press"], "team": None, "uses": 1, "expires_s": 86400}, extra="forbid"
    )

    worker_pattern: str = Field(default="*", min_length=1, max_length=512)
    """A glob of worker names."""
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """None: any queue."""
    team: str | None = Field(default=None, min_length=1, max_length=256)
    uses: int | None = Field(default=1, ge=1, le=1_000_000)
    """None: as often as wanted until it expires."""
    expires_s: Lifetime = 86_400


class TokenView(BaseModel):
    """A join token without its secret."""

    id: UUID
    worker_pattern: str
    queues: list[str] | None
    team: str | None
    uses_left: int | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class TokenCreated(TokenView):
    """The token itself, shown this once."""

    token: str = Field(repr=False)


class TokenPage(BaseModel):
    """Join tokens, the newest first."""

    items: list[TokenView]
    next: str | None = None


class CredentialRequest(BaseModel):
    """A credential for people or programs. Those of workers come from enrolment."""

    model_config = _example({"role": "read", "label": "grafana", "expires_s": 7776000}, extra="forbid")

    role: Literal["admin", "read"]
    label: str = Field(min_length=1, max_length=LABEL_MAX)
    """Who or what uses it: shown in lists and as the actor of the audit trail."""
    expires_s: Lifetime = 90 * 86_400


class CredentialView(BaseModel):
    """A credential without its secret."""

    id: UUID
    role: Literal["worker", "admin", "read"]
    label: str | None
    worker: str | None
    team: str | None
    queues: list[str] | None
    created_at: datetime
    expires_at: datetime
    rotated_at: datetime | None
    """Since then there is a successor; it is good until `expires_at` all the same."""
    revoked_at: datetime | None


class CredentialCreated(CredentialView):
    """The credential itself, shown this once."""

    credential: str = Field(repr=False)


class CredentialPage(BaseModel):
    """Credentials, the newest first."""

    items: list[CredentialView]
    next: str | None = None


class CredentialPatch(BaseModel):
    """Which queues a worker's credential grants from the next claim on; null: any queue."""

    model_config = _example({"queues": ["press"]}, extra="forbid")

    queues: list[QueueName] | None = Field(max_length=256)


class RevokedCredentials(BaseModel):
    """How many credentials were good until now."""

    revoked: int


class AuditEntry(BaseModel):
    """Something that was done or refused."""

    model_config = _example(
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
    """`ROLE:LABEL:CREDENTIAL_ID`, `worker:NAME`, `command line`, or the address of a caller who was refused."""
    action: str
    object: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    """The audit trail, the newest first."""

    items: list[AuditEntry]
    next: str | None = None


class ChangeKind(StrEnum):
    """Events of the change stream. Each but the first carries an id for `Last-Event-ID`, good on any replica."""

    RESET = "reset"
    """Forget what you know: the whole fleet follows. Data: `{}`."""
    WORKER = "worker"
    """A worker is new or has changed. Data: `WorkerView`."""
    REMOVED = "removed"
    """A worker is no more. Data: `RemovedWorker`."""
    READY = "ready"
    """What came before this is up to date: the start is complete. Data: `{}`."""


class RemovedWorker(BaseModel):
    """A worker that was removed from the fleet."""

    name: str
