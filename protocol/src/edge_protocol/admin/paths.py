"""Paths of the admin API, and how its lists are paged."""

from urllib.parse import quote
from uuid import UUID

ADMIN_PATH = "/edge_worker/admin/v1"
WORKERS_PATH = f"{ADMIN_PATH}/workers"
"""GET: list. `/{name}` GET, PATCH, DELETE; `/{name}/maintenance` and `/{name}/shutdown` PUT, DELETE;
`/{name}/credentials` DELETE: revoke all of them; `/{name}/events` and `/{name}/metrics` GET. `/bulk` POST."""
QUEUES_PATH = f"{ADMIN_PATH}/queues"
"""GET: list. `/{queue}` GET; the name may contain slashes."""
JOBS_PATH = f"{ADMIN_PATH}/jobs"
"""GET: list. `/{id}` GET; `/{id}/explain` GET."""
TOKENS_PATH = f"{ADMIN_PATH}/tokens"
"""Join tokens. GET, POST; `/{id}` DELETE: revoke."""
CREDENTIALS_PATH = f"{ADMIN_PATH}/credentials"
"""GET, POST; `/{id}` GET, PATCH: change the queues that a worker's credential grants, DELETE: revoke."""
AUDIT_PATH = f"{ADMIN_PATH}/audit"
CHANGES_PATH = f"{ADMIN_PATH}/changes"
"""Server-sent events, see `ChangeKind`."""
SUMMARY_PATH = f"{ADMIN_PATH}/summary"
"""GET: the fleet in one line."""
DOCS_PATH = f"{ADMIN_PATH}/docs"
"""Documentation for a browser."""
OPENAPI_PATH = f"{ADMIN_PATH}/openapi.json"

PAGE_DEFAULT = 100
PAGE_MAX = 1000


def worker_path(name: str) -> str:
    """Return the path of one worker."""
    return f"{WORKERS_PATH}/{quote(name, safe='')}"


def worker_maintenance_path(name: str) -> str:
    """Return the path of a worker's maintenance."""
    return f"{worker_path(name)}/maintenance"


def worker_shutdown_path(name: str) -> str:
    """Return the path of a worker's shutdown request."""
    return f"{worker_path(name)}/shutdown"


def worker_credentials_path(name: str) -> str:
    """Return the path of all credentials of a worker."""
    return f"{worker_path(name)}/credentials"


def worker_events_path(name: str) -> str:
    """Return the path of what happened to a worker."""
    return f"{worker_path(name)}/events"


def worker_metrics_path(name: str) -> str:
    """Return the path of a worker's samples."""
    return f"{worker_path(name)}/metrics"


def token_path(token: UUID | str) -> str:
    """Return the path of one join token."""
    return f"{TOKENS_PATH}/{quote(str(token), safe='')}"
