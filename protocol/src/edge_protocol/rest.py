"""Bodies of the v2 calls that are not frames: enrolment and the long-poll transport."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from edge_protocol.limits import QueueName, WorkerName

API_NAME = "airflow-edge"
"""Value of the `api` field of `GET /edge_worker/v2/`: how a client knows that a URL is this API."""

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
    """Trade a join token for a credential of one worker."""

    join_token: str = Field(min_length=1, max_length=512, repr=False)
    worker: WorkerName
    queues: list[QueueName] | None = Field(default=None, max_length=256)
    """Queues that the credential is to be good for; None: all that the join token grants."""


class EnrollResponse(BaseModel):
    """The credential, shown once; the server keeps only a hash."""

    worker: str
    credential: str = Field(repr=False)
    credential_id: UUID
    expires_at: datetime
    team: str | None
    queues: list[str] | None
    """Granted queues; None: any queue."""


class RotateResponse(EnrollResponse):
    """The successor of the credential that the call was made with. Identity, team and queues stay."""

    previous_good_until: datetime
    """The old credential is refused from then on."""


class SyncRequest(BaseModel):
    """One turn of the long-poll transport. Each frame is the very text that a WebSocket message would hold.

    The first call of a session carries a `hello` and no `session_id`; the answer starts with `welcome`.
    """

    model_config = ConfigDict(extra="ignore")

    session_id: UUID | None = None
    frames: list[str] = Field(default_factory=list, max_length=1000)
    wait_s: float = Field(default=0, ge=0, le=30)
    """How long the server may hold the call while it has nothing to say."""


class SyncResponse(BaseModel):
    """Frames for the agent, oldest first."""

    frames: list[str]


class Problem(BaseModel):
    """Error body of every HTTP answer (RFC 9457, `application/problem+json`)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    """One sentence: what is wrong and what mends it."""
    code: str
    """Stable word for programs, for example `join_token_expired`."""
