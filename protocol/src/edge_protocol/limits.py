"""Bounds that both sides of the wire check, each in one place."""

from typing import Annotated

from pydantic import StringConstraints

QUEUE_NAME_MAX = 256
"""Characters. Airflow's own `task_instance.queue` column holds as many."""

WORKER_NAME_MAX = 253
"""Characters. A worker name is used as a Kubernetes object name and a host name (RFC 1123 allows 253)."""

ERROR_TEXT_MAX = 4096
"""Characters of error text a report may carry; the whole story is in the task log."""

COMMENT_MAX = 1024
"""Characters of a maintenance comment, as in Airflow's own edge provider."""

CONCURRENCY_MAX = 10_000
"""Slots. Far above what one host runs; it bounds what a worker can claim by a mistake in its settings."""

FRAME_MAX_BYTES = 1 << 20
"""Bytes of one encoded frame from a worker. A larger one closes the session with a reason."""

WORKER_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$"
"""Letters, digits, '.', '_' and '-'; starts and ends with a letter or digit: safe in URLs, paths and labels."""

WORKER_SCOPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}\*?$"
"""A worker's name, or the start of names and a star: of two such patterns it is plain whether one has the other's."""

QUEUE_NAME_PATTERN = r"^[^\x00]*$"
"""PostgreSQL's text holds no NUL; Airflow restricts queue names no further."""

QueueName = Annotated[str, StringConstraints(min_length=1, max_length=QUEUE_NAME_MAX, pattern=QUEUE_NAME_PATTERN)]
WorkerPattern = Annotated[str, StringConstraints(max_length=WORKER_NAME_MAX + 1, pattern=WORKER_SCOPE_PATTERN)]
WorkerName = Annotated[str, StringConstraints(max_length=WORKER_NAME_MAX, pattern=WORKER_NAME_PATTERN)]
