"""Bodies of the v2 requests that are not frames: enrolment and the long-poll transport."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from edge_protocol.limits import QueueName, WorkerName

API_NAME = "airflow-edge"
"""Value of the `api` field of `GET /edge_worker/v2/`, by which a client recognizes this API."""

ENROLL_PATH = "/edge_worker/v2/enroll"
SESSION_PATH = "/edge_worker/v2/session"
SYNC_PATH = "/edge_worker/v2/sync"
INFO_PATH = "/edge_worker/v2/"
ROTATE_PATH = "/edge_worker/v2/credential/rotate"


class ApiInfo(BaseModel):
    """Answer of `GET /edge_worker/v2/`, without authentication."""

    api: str = API_NAME
    version: str
    protocol_min: int
    protocol_max: int


class EnrollRequest(BaseModel):
    """Exchange a join token for the credential of one worker."""

    join_token: str = Field(min_length=1, max_length=512, repr=False)
    worker: WorkerName
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """Queues that the credential should grant. None: all that the join token grants."""


class EnrollResponse(BaseModel):
    """The credential. It cannot be shown again, since the server keeps only a hash."""

    worker: str
    credential: str = Field(repr=False)
    credential_id: UUID
    expires_at: datetime
    team: str | None
    queues: list[str] | None
    """Granted queues; None: any queue."""


class RotateResponse(EnrollResponse):
    """The successor of the credential that the request was made with. Identity, team and queues stay the same."""

    previous_valid_until: datetime
    """The old credential is refused from then on."""


class SyncRequest(BaseModel):
    """One round trip of the long-poll transport. Each frame is the text that a WebSocket message would contain.

    The first request of a session carries a `hello` and no `session_id`; the response starts with `welcome`.
    """

    model_config = ConfigDict(extra="ignore")

    session_id: UUID | None = None
    frames: list[str] = Field(default_factory=list, max_length=1000)
    wait_s: float = Field(default=0, ge=0, le=30)
    """How long the server may hold the request while it has nothing to send."""


class SyncResponse(BaseModel):
    """Frames for the agent, oldest first."""

    frames: list[str]


class Problem(BaseModel):
    """Body of every HTTP error (RFC 9457, `application/problem+json`)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    """One sentence: what is wrong and how to fix it."""
    code: str
    """Stable word for programs, for example `join_token_expired`."""
