"""The frames of protocol v2: one set for both transports (WebSocket and long-poll).

A frame is a JSON object with a `type`. Unknown fields are ignored and unknown types are skipped, so either side may be
newer. Delivery is at least once: `report` and `log` are repeated until acknowledged, and every handler is idempotent.

The life of a job on the wire:

    server: job -> agent: accept -> server: ack(accept) -> the agent starts the task
    agent: log* (any time, also after the report) -> server: ack(log, offset)
    agent: report -> server: ack(report)

The agent starts a task only after ack(accept): by then the store has recorded that this lease runs it. So a claim whose
accept never arrived can be given to another worker without a second run (I-3 in docs/architecture.md).
"""

from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge_protocol.limits import (
    COMMENT_MAX,
    CONCURRENCY_MAX,
    ERROR_TEXT_MAX,
    OUTAGE_TOLERANCE_MAX_S,
    QueueName,
    SysInfoNumber,
    SysInfoText,
    WorkerName,
)

PROTOCOL_MIN = 2
"""Oldest protocol that this code speaks."""
PROTOCOL_MAX = 2
"""Newest protocol that this code speaks."""

BY_HOST = "worker host"
"""Who set maintenance that was requested on the worker's own host."""
BY_HEALTH = "worker health check"
"""Who set maintenance that the worker's health check requested."""


class Frame(BaseModel):
    """Base of all frames. Bytes are sent as base64, since JSON has no bytes."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


class Versions(Frame):
    """Versions on the worker's host; shown to people and checked against the skew policy."""

    worker: str = Field(max_length=64)
    airflow: str | None = Field(default=None, max_length=64)
    python: str | None = Field(default=None, max_length=64)
    platform: str | None = Field(default=None, max_length=128)


class Hello(Frame):
    """First frame of a session: which worker connects, and which leases it still holds.

    `held` lists every lease whose report was not acknowledged, running or finished. The server ends the worker's other
    unfinished leases at once. `instance` is new for each start of the agent process.
    """

    type: Literal["hello"] = "hello"
    protocol_min: int = Field(default=PROTOCOL_MIN, ge=0)
    protocol_max: int = Field(default=PROTOCOL_MAX, ge=0)
    worker: WorkerName
    instance: UUID
    versions: Versions
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """None: the queues that the credential lists, or `default` if it grants any queue."""
    concurrency: int = Field(ge=1, le=CONCURRENCY_MAX)
    held: list[UUID] = Field(default_factory=list, max_length=CONCURRENCY_MAX)
    initialised: bool = True
    """Whether tasks can be started: False while the worker's runner loads. Such a worker is given no jobs."""
    maintenance: bool = False
    """Whether the worker's host requested maintenance."""
    maintenance_comment: str | None = Field(default=None, max_length=COMMENT_MAX)
    outage_tolerance_s: int = Field(default=0, ge=0, le=OUTAGE_TOLERANCE_MAX_S)
    """Longest time for which its running tasks survive without contact; 0: they don't. Each job gets its own, which
    may be shorter (`Job`)."""
    kill_grace_s: float = Field(default=0, ge=0, le=OUTAGE_TOLERANCE_MAX_S)
    """Seconds that the worker may take to end a task."""


class Heartbeat(Frame):
    """Heartbeat; the server writes those of many workers together. `held`, as in Hello, reveals stale leases."""

    type: Literal["heartbeat"] = "heartbeat"
    free_slots: int = Field(ge=0, le=CONCURRENCY_MAX)
    jobs_active: int = Field(ge=0, le=CONCURRENCY_MAX)
    held: list[UUID] = Field(default_factory=list, max_length=CONCURRENCY_MAX)
    desired_version: int = 0
    """Version of the last `desired` frame applied; 0 before the first."""
    initialised: bool = True
    """As in Hello."""
    maintenance_acknowledged: bool = False
    terminating: bool = False
    sysinfo: dict[SysInfoText, float | SysInfoNumber | SysInfoText | None] = Field(default_factory=dict, max_length=64)
    mark: int | None = Field(default=None, ge=0, lt=1 << 63)
    """Comes back in `heartbeat_ack` once this heartbeat, or a later one, is stored; None: no acknowledgement."""


class Accept(Frame):
    """The agent has room for the job and will start it once this is acknowledged."""

    type: Literal["accept"] = "accept"
    lease_id: UUID


class Report(Frame):
    """The task's process ended. `succeeded` means that it ran to its end, as with Airflow's own executors."""

    type: Literal["report"] = "report"
    lease_id: UUID
    outcome: Literal["succeeded", "failed"]
    exit_code: int | None = None
    error: str | None = Field(default=None, max_length=ERROR_TEXT_MAX)


class Log(Frame):
    """Bytes of a task's log. `offset` counts from the start of the lease's log, in bytes.

    The server appends only at the end of what it has: it cuts off an older part, and answers a gap with the expected
    offset, unless `skipped` says that so many bytes before `offset` are permanently lost (spool full).
    """

    type: Literal["log"] = "log"
    lease_id: UUID
    offset: int = Field(ge=0)
    skipped: int = Field(default=0, ge=0)
    data: bytes


class Maintenance(Frame):
    """The worker's host requests to enter maintenance (or to change its comment), or to leave it.

    Repeated until `maintained` comes back. `host`: somebody on the worker's host requested it, with the same effect
    as a request of an administrator. `health`: its health check did; that never changes maintenance set by others.
    """

    type: Literal["maintenance"] = "maintenance"
    id: UUID
    on: bool
    comment: str | None = Field(default=None, max_length=COMMENT_MAX)
    source: Literal["host", "health"] = "host"


class Bye(Frame):
    """The agent disconnects cleanly. It holds no unfinished lease any more."""

    type: Literal["bye"] = "bye"


class Welcome(Frame):
    """Answer to `hello`: the session is open, with these intervals and limits."""

    type: Literal["welcome"] = "welcome"
    protocol: int
    session_id: UUID
    heartbeat_interval_s: float
    log_chunk_bytes: int
    """Largest `data` of one `log` frame."""
    log_window_bytes: int
    """Log bytes that may be unacknowledged at a time, over all leases."""
    execution_forwarded: bool = False
    """The edge API forwards calls of tasks to Airflow's Execution API (`edge_protocol.execution`)."""


class Job(Frame):
    """A lease is granted. `workload` is Airflow's own JSON, opaque here; it has the task's token, so never log it."""

    type: Literal["job"] = "job"
    lease_id: UUID
    job_id: UUID
    kind: Literal["task", "callback"]
    slots: int = Field(ge=1)
    log_path: str | None
    workload: str = Field(repr=False)
    outage_tolerance_s: int = Field(default=0, ge=0, le=OUTAGE_TOLERANCE_MAX_S)
    """How long the task survives without contact: the server keeps the job for so long after the worker's last
    heartbeat, and the worker ends the task before that. 0: the server gives the job up with the worker."""


class DesiredFrame(Frame):
    """The desired state of the worker, always complete (level-based). Sent after welcome and on every change."""

    type: Literal["desired"] = "desired"
    version: int
    maintenance: bool = False
    maintenance_comment: str | None = None
    maintenance_by: str | None = None
    """Who set it: a person, `worker host` or `worker health check`."""
    shutdown: bool = False
    queues: list[str]
    """Effective queues, computed by the server from those requested, granted, added and removed."""
    concurrency: int = Field(ge=1, le=CONCURRENCY_MAX)


class Cancel(Frame):
    """The job was revoked: stop its task and report."""

    type: Literal["cancel"] = "cancel"
    lease_id: UUID
    reason: str


class Ack(Frame):
    """A frame has taken effect and is durable. `offset` is set for logs: the next expected byte."""

    type: Literal["ack"] = "ack"
    of: Literal["accept", "report", "log"]
    lease_id: UUID
    offset: int | None = None


class HeartbeatAck(Frame):
    """A heartbeat that asked for it is stored: at its sending the worker was certainly in contact."""

    type: Literal["heartbeat_ack"] = "heartbeat_ack"
    mark: int


class Maintained(Frame):
    """A `maintenance` frame was processed and stored. The preceding `desired` frame has the outcome."""

    type: Literal["maintained"] = "maintained"
    id: UUID


class Fenced(Frame):
    """The lease is stale or invalid: kill its task, drop its report, and keep sending its log.

    `of` is `log` in the answer to a log that can't be stored: stop sending that log. Its task is not concerned.
    """

    type: Literal["fenced"] = "fenced"
    of: Literal["lease", "log"] = "lease"
    lease_id: UUID
    reason: str


class Error(Frame):
    """A frame was invalid or refused. `fatal`: the session ends. The message says how to fix it."""

    type: Literal["error"] = "error"
    code: str
    message: str
    fatal: bool = False


AgentFrame = Annotated[Hello | Heartbeat | Accept | Report | Log | Maintenance | Bye, Field(discriminator="type")]
"""Frames that a worker sends."""

ServerFrame = Annotated[
    Welcome | Job | DesiredFrame | Cancel | Ack | HeartbeatAck | Maintained | Fenced | Error,
    Field(discriminator="type"),
]
"""Frames that the edge API sends."""

_agent_frames: TypeAdapter[AgentFrame] = TypeAdapter(AgentFrame)
_server_frames: TypeAdapter[ServerFrame] = TypeAdapter(ServerFrame)


T = TypeVar("T")


class FrameError(ValueError):
    """A frame could not be read."""


def parse_agent_frame(data: str | bytes) -> AgentFrame | None:
    """Parse a worker's frame. Returns None for a type that this version does not know.

    Raises:
        FrameError: Not JSON, or a known type with invalid fields. The message names the field, never its value.

    """
    return _parse(_agent_frames, data)


def parse_server_frame(data: str | bytes) -> ServerFrame | None:
    """Parse a frame of the edge API. Returns None for a type that this version does not know.

    Raises:
        FrameError: For the same reasons as in `parse_agent_frame`.

    """
    return _parse(_server_frames, data)


def _parse(adapter: TypeAdapter[T], data: str | bytes) -> T | None:
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        if any(detail["type"] == "union_tag_invalid" for detail in details):
            return None
        first = details[0]
        where = ".".join(str(part) for part in first["loc"]) or "frame"
        raise FrameError(f"{where}: {first['msg']}") from error


def choose_protocol(theirs_min: int, theirs_max: int) -> int | None:
    """Return the newest protocol that both sides speak, or None if there is none."""
    newest = min(theirs_max, PROTOCOL_MAX)
    return newest if newest >= max(theirs_min, PROTOCOL_MIN) else None
