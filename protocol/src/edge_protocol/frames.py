"""The frames of protocol v2: one set for both transports (WebSocket and long-poll).

A frame is a JSON object with a `type`. Unknown fields are ignored and unknown types are skipped, so either side may be
newer. Delivery is at least once: `report` and `log` repeat until acknowledged, and every handler is idempotent.

The order of a job's life on the wire:

    server: job -> agent: accept -> server: ack(accept) -> the agent starts the task
    agent: log* (any time, also after the report) -> server: ack(log, offset)
    agent: report -> server: ack(report)

The agent starts a task only after ack(accept): from then on the store says that this lease runs it, so a claim whose
accept never arrived can be given to somebody else without a second run (design: I-3).
"""

from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edge_protocol.limits import COMMENT_MAX, CONCURRENCY_MAX, ERROR_TEXT_MAX, QueueName, WorkerName

PROTOCOL_MIN = 2
"""Oldest protocol this code speaks."""
PROTOCOL_MAX = 2
"""Newest protocol this code speaks."""

BY_HOST = "worker host"
"""Who set a maintenance that was asked for on the worker's own machine."""
BY_HEALTH = "worker health check"
"""Who set a maintenance that the worker's health check asked for."""


class Frame(BaseModel):
    """Base of all frames. Bytes travel as base64, since JSON has no bytes."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_bytes="base64", val_json_bytes="base64")


class Versions(Frame):
    """What runs on the worker's host; shown to people and checked against the skew policy."""

    worker: str = Field(max_length=64)
    airflow: str | None = Field(default=None, max_length=64)
    python: str | None = Field(default=None, max_length=64)
    platform: str | None = Field(default=None, max_length=128)


class Hello(Frame):
    """First frame of a session: who is there, and which leases it still holds.

    `held` lists every lease whose report was not acknowledged, running or finished: the server settles the rest of the
    worker's unfinished leases at once. `instance` is fresh for each start of the agent process.
    """

    type: Literal["hello"] = "hello"
    protocol_min: int = Field(default=PROTOCOL_MIN, ge=0)
    protocol_max: int = Field(default=PROTOCOL_MAX, ge=0)
    worker: WorkerName
    instance: UUID
    versions: Versions
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """None: all queues that the credential grants."""
    concurrency: int = Field(ge=1, le=CONCURRENCY_MAX)
    held: list[UUID] = Field(default_factory=list, max_length=CONCURRENCY_MAX)
    initialised: bool = True
    """Tasks can be started; False while the worker's runner still loads. Such a worker is given no job."""
    maintenance: bool = False
    """The worker's host asked for maintenance."""
    maintenance_comment: str | None = Field(default=None, max_length=COMMENT_MAX)


class Heartbeat(Frame):
    """Sign of life; coalesced by the server. `held` as in Hello lets the server find leases that are no longer good."""

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
    sysinfo: dict[str, float | int | str | None] = Field(default_factory=dict, max_length=64)


class Accept(Frame):
    """The agent has room for the job and will start it once this is acknowledged."""

    type: Literal["accept"] = "accept"
    lease_id: UUID


class Report(Frame):
    """The task's process ended. `succeeded` means that it ran to its end, as in Airflow's own executors."""

    type: Literal["report"] = "report"
    lease_id: UUID
    outcome: Literal["succeeded", "failed"]
    exit_code: int | None = None
    error: str | None = Field(default=None, max_length=ERROR_TEXT_MAX)


class Log(Frame):
    """Bytes of a task's log. `offset` counts from the start of the lease's log, in bytes.

    The server appends only at the end it knows: an older part is cut off, a gap is answered with the expected offset,
    unless `skipped` says that so many bytes before `offset` are gone for good (spool full).
    """

    type: Literal["log"] = "log"
    lease_id: UUID
    offset: int = Field(ge=0)
    skipped: int = Field(default=0, ge=0)
    data: bytes


class Maintenance(Frame):
    """The worker's own side wishes to enter maintenance (or to change its comment), or to leave it.

    Repeated until `maintained` comes back. `host`: somebody on the worker's machine asked, which counts like the wish
    of an administrator. `health`: its health check did; that never touches a maintenance that somebody else set.
    """

    type: Literal["maintenance"] = "maintenance"
    id: UUID
    on: bool
    comment: str | None = Field(default=None, max_length=COMMENT_MAX)
    source: Literal["host", "health"] = "host"


class Bye(Frame):
    """The agent stops. It holds no unfinished lease any more."""

    type: Literal["bye"] = "bye"


class Welcome(Frame):
    """Answer to `hello`: the session is on, with these intervals and limits."""

    type: Literal["welcome"] = "welcome"
    protocol: int
    session_id: UUID
    heartbeat_interval_s: float
    log_chunk_bytes: int
    """Largest `data` of one `log` frame."""
    log_window_bytes: int
    """Log bytes that may be sent and not yet acknowledged, over all leases."""
    execution_api_url: str | None = None
    """Airflow's Execution API for task processes, where the platform has set one."""


class Job(Frame):
    """A lease is granted. `workload` is Airflow's own JSON, opaque here; it holds the task's token, so never log it."""

    type: Literal["job"] = "job"
    lease_id: UUID
    job_id: UUID
    kind: Literal["task", "callback"]
    slots: int = Field(ge=1)
    log_path: str | None
    workload: str = Field(repr=False)


class DesiredFrame(Frame):
    """What is wanted of the worker, whole each time (level-based). Sent after welcome and on every change."""

    type: Literal["desired"] = "desired"
    version: int
    maintenance: bool = False
    maintenance_comment: str | None = None
    maintenance_by: str | None = None
    """Who set it: a person, `worker host` or `worker health check`."""
    shutdown: bool = False
    queues: list[str]
    """Effective queues: asked for, granted, added and removed, worked out by the server."""
    concurrency: int = Field(ge=1, le=CONCURRENCY_MAX)


class Cancel(Frame):
    """The job is not wanted any more: stop its task and report."""

    type: Literal["cancel"] = "cancel"
    lease_id: UUID
    reason: str


class Ack(Frame):
    """A frame has taken effect and is durable. `offset` is set for logs: the next byte expected."""

    type: Literal["ack"] = "ack"
    of: Literal["accept", "report", "log"]
    lease_id: UUID
    offset: int | None = None


class Maintained(Frame):
    """A `maintenance` frame is stored as far as it counts; the `desired` frame before this one has the outcome."""

    type: Literal["maintained"] = "maintained"
    id: UUID


class Fenced(Frame):
    """The lease is not good (any more): kill its task, drop its report, keep sending its log."""

    type: Literal["fenced"] = "fenced"
    lease_id: UUID
    reason: str


class Error(Frame):
    """Something is wrong with what was sent. `fatal`: the session ends; the message says what mends it."""

    type: Literal["error"] = "error"
    code: str
    message: str
    fatal: bool = False


AgentFrame = Annotated[Hello | Heartbeat | Accept | Report | Log | Maintenance | Bye, Field(discriminator="type")]
"""Frames that a worker sends."""

ServerFrame = Annotated[
    Welcome | Job | DesiredFrame | Cancel | Ack | Maintained | Fenced | Error,
    Field(discriminator="type"),
]
"""Frames that the edge API sends."""

_agent_frames: TypeAdapter[AgentFrame] = TypeAdapter(AgentFrame)
_server_frames: TypeAdapter[ServerFrame] = TypeAdapter(ServerFrame)


T = TypeVar("T")


class FrameError(ValueError):
    """A frame could not be read."""


def parse_agent_frame(data: str | bytes) -> AgentFrame | None:
    """Read one frame of a worker; None for a type that this version does not know.

    Raises:
        FrameError: not JSON, or a known type with wrong fields; the message names the field, never its value.

    """
    return _parse(_agent_frames, data)


def parse_server_frame(data: str | bytes) -> ServerFrame | None:
    """Read one frame of the edge API; None for a type that this version does not know.

    Raises:
        FrameError: as for `parse_agent_frame`.

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
    """Return the newest protocol that both sides speak, or None where the ranges do not meet."""
    newest = min(theirs_max, PROTOCOL_MAX)
    return newest if newest >= max(theirs_min, PROTOCOL_MIN) else None
