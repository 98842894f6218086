"""Limits that both sides of the wire check, each defined once."""

from typing import Annotated

from pydantic import Field, StringConstraints

QUEUE_NAME_MAX = 256
"""Characters, as in Airflow's own `task_instance.queue` column."""

WORKER_NAME_MAX = 253
"""Characters. A worker name is used as a Kubernetes object name and a host name (RFC 1123 allows 253)."""

ERROR_TEXT_MAX = 4096
"""Characters of error text that a report may carry; the task log has the complete error."""

COMMENT_MAX = 1024
"""Characters of a maintenance comment, as in Airflow's own edge provider."""

CONCURRENCY_MAX = 10_000
"""Slots. Far above what one host runs; it limits what a worker can claim because of a wrong setting."""

OUTAGE_TOLERANCE_MAX_S = 7 * 24 * 3600
"""Seconds for which a task may survive without contact. Supervisors wait for answers for as long."""

FENCE_MARGIN_S = 5.0
"""Seconds by which a worker without contact ends a task before the server may give its job up."""

FRAME_MAX_BYTES = 1 << 20
"""Bytes of one encoded frame from a worker. A larger one closes the session with a reason."""

WORKER_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$"
"""Letters, digits, '.', '_' and '-'; starts and ends with a letter or digit: safe in URLs, paths and labels."""

WORKER_SCOPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}\*?$"
"""A worker's name, or a prefix and a star. So it is easy to find out whether one pattern covers another."""

ALLOWED_NAME_MAX = 250
"""Characters, as in Airflow's own columns `connection.conn_id` and `variable.key`."""

ALLOWED_NAMES_MAX = 1000
"""Names of one list: it is read with each lookup of a credential."""

ALLOWED_NAME_PATTERN = r"^([^*\x00]+\*?|\*)$"
"""The name of a Connection or Variable, or a prefix and a star: easy to compare, as `WORKER_SCOPE_PATTERN`."""

QUEUE_NAME_PATTERN = r"^[^\x00]*$"
"""PostgreSQL's text cannot contain NUL; Airflow does not restrict queue names further."""

QueueName = Annotated[str, StringConstraints(min_length=1, max_length=QUEUE_NAME_MAX, pattern=QUEUE_NAME_PATTERN)]
AllowedName = Annotated[str, StringConstraints(max_length=ALLOWED_NAME_MAX, pattern=ALLOWED_NAME_PATTERN)]
AllowedNames = Annotated[list[AllowedName], Field(max_length=ALLOWED_NAMES_MAX)]
WorkerPattern = Annotated[str, StringConstraints(max_length=WORKER_NAME_MAX + 1, pattern=WORKER_SCOPE_PATTERN)]
WorkerName = Annotated[str, StringConstraints(max_length=WORKER_NAME_MAX, pattern=WORKER_NAME_PATTERN)]

SysInfoText = Annotated[str, StringConstraints(max_length=128)]
"""A name or a text in a heartbeat's `sysinfo`, which is stored and shown for each worker."""
SysInfoNumber = Annotated[int, Field(ge=-(2**63), lt=2**63)]
