"""Paths of the admin API, and how its lists are paged."""

ADMIN_PATH = "/edge_worker/admin/v1"
WORKERS_PATH = f"{ADMIN_PATH}/workers"
"""GET: list. `/{name}` GET, PATCH, DELETE; `/{name}/maintenance` and `/{name}/shutdown` PUT, DELETE;
`/{name}/credentials` DELETE: revoke all of them. `/bulk` POST."""
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
OPENAPI_PATH = f"{ADMIN_PATH}/openapi.json"

PAGE_DEFAULT = 100
PAGE_MAX = 1000
