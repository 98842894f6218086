"""Comments, and the name of a constraint, in plain English."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REVISION = ("transaction of the last visible change", "transaction of the last change that people see")

# What is commented, its new comment, its old one.
_COMMENTS = {
    "COLUMN edge.job.owner": (
        "the scheduler that takes the job's events",
        "the scheduler that is told how the job ends",
    ),
    "COLUMN edge.lease.log_bytes": ("offset of the next expected byte", "next byte of the log expected"),
    "TABLE edge.lease": (
        "one row per claim; owns the log, which may arrive after the job has a new lease",
        "every claim ever granted; owns the log, which may arrive after the job has moved on",
    ),
    "COLUMN edge.worker.queues": (
        "effective queues, which claims must match",
        "effective queues: what claims go by",
    ),
    "COLUMN edge.worker.instance": ("new for each start of the agent", "fresh for each start of the agent"),
    "COLUMN edge.worker.credential_id": (
        "credential of the session, whose scopes limit claims; NULL: a v1 worker",
        "of the session: claims go by its scopes; NULL: a v1 worker",
    ),
    "COLUMN edge.worker.any_queue": (
        "serves every queue: a v1 worker that names none",
        "a v1 worker without a list",
    ),
    "COLUMN edge.worker.silent_after_s": (
        "seconds of silence after which it is lost; NULL: the platform's setting",
        "silence after which it is lost; NULL: as the platform's setting",
    ),
    "COLUMN edge.worker.revision": _REVISION,
    "COLUMN edge.worker_desired.revision": _REVISION,
    "COLUMN edge.worker_removed.revision": _REVISION,
    "COLUMN edge.worker_removed.team": (
        "team of the worker: only followers of that team see the removal",
        "whose worker it was: only its followers are told",
    ),
    "TABLE edge.worker_removed": (
        "tombstones of removed workers, for followers of the change stream",
        "tombstones of removed workers, for whoever follows the change stream",
    ),
    "COLUMN edge.worker_desired.concurrency": (
        "override; NULL: the worker's own setting",
        "override; NULL: as the worker says",
    ),
    "COLUMN edge.credential.worker_name": (
        "the only worker name that the credential is valid for",
        "the one name a worker credential is good for",
    ),
    "COLUMN edge.credential.team": (
        "team of the worker; for other roles the only visible team, NULL: any",
        "of a worker; for other roles the only team that is seen, NULL: any",
    ),
    "COLUMN edge.credential.worker_pattern": (
        "the only workers visible to role admin or read: PREFIX* or a name; NULL: any",
        "the workers that role admin or read sees: PREFIX*, or a name; NULL: any",
    ),
    "TABLE edge.platform": (
        "facts that one part of the platform publishes for the others, for example Airflow's version",
        "what the parts of the platform tell each other, for example Airflow's version",
    ),
    "TABLE edge.audit": (
        "everything that was done or refused, written in the same transaction",
        "everything that was done or refused, written in the transaction that did it",
    ),
}


def upgrade() -> None:
    for place, (new, _) in _COMMENTS.items():
        _comment(place, new)
    op.execute("ALTER TABLE edge.log RENAME CONSTRAINT ck_log_chunk_is_real TO ck_log_chunk_not_empty")


def downgrade() -> None:
    op.execute("ALTER TABLE edge.log RENAME CONSTRAINT ck_log_chunk_not_empty TO ck_log_chunk_is_real")
    for place, (_, old) in _COMMENTS.items():
        _comment(place, old)


def _comment(place: str, text: str) -> None:
    quoted = text.replace("'", "''")
    # Not as text of SQLAlchemy, which would read the colons as parameters.
    op.get_bind().exec_driver_sql(f"COMMENT ON {place} IS '{quoted}'")
