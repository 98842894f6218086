"""Statements on jobs of workers that are out of contact: kept for their tolerance, kept alive in Airflow, given up.

A job with an outage tolerance stays its worker's for so long after the last sign of life, although the worker is
unknown. The worker ends the task shortly before that (`FENCE_MARGIN_S`), so nothing runs twice (I-4 in
docs/architecture.md).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.types import Interval

from edge_store.database.arrays import texts
from edge_store.database.statement import Command, Statement
from edge_store.schema import platform

KEPT_UNTIL = "greatest(w.last_heartbeat, j.started_at) + make_interval(secs => j.outage_tolerance_s)"
"""Until when a running job `j` of a worker `w` is kept. The accept is a sign of life: heartbeats may be older."""

KEPT = f"(j.state = 'running' AND j.outage_tolerance_s > 0 AND {KEPT_UNTIL} > now())"
"""Whether job `j` is kept for worker `w`, should that be out of contact."""


def database_was_well(window: str) -> str:
    """Return the condition under which silence proves something (ADR 0024).

    The database takes writes, and its last stall ended longer than a window ago.
    """
    return f"""EXISTS (
        SELECT 1 FROM edge.platform WHERE key = :canary AND updated_at > now() - :stall
          AND coalesce(CAST(nullif(value, '') AS timestamptz), '-infinity') < now() - {window}
    )"""  # noqa: S608  (constant texts)


class GivenUp(NamedTuple):
    """A worker of which jobs were declared lost."""

    worker_name: str
    jobs: int
    hints: int
    """Hints sent by the whole statement."""


_GIVE_UP_OVERDUE = text(
    f"""
    WITH overdue AS (
        SELECT j.id, w.name, w.team, w.last_heartbeat FROM edge.worker w JOIN edge.job j ON j.worker_name = w.name
        WHERE w.lost AND NOT w.offline AND j.state = 'running' AND j.outage_tolerance_s > 0 AND {KEPT_UNTIL} <= now()
          AND {database_was_well(":window")}
        FOR UPDATE OF j SKIP LOCKED
    ), lost AS (
        UPDATE edge.job j
        SET state = 'lost', finished_at = now(), workload = NULL, execution_token = NULL, event_pending = true,
            error = 'edge worker ' || o.name || ' out of contact since '
                    || to_char(o.last_heartbeat AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                    || ', for longer than the outage tolerance of ' || j.outage_tolerance_s || ' s'
        FROM overdue o WHERE j.id = o.id
        RETURNING j.worker_name
    ), given_up AS (
        SELECT o.name AS worker_name, o.team, min(o.last_heartbeat) AS last_heartbeat, count(*) AS jobs
        FROM overdue o GROUP BY o.name, o.team
    ), shown AS (
        UPDATE edge.worker w SET jobs_active = greatest(0, w.jobs_active - g.jobs), revision = DEFAULT
        FROM given_up g WHERE w.name = g.worker_name AND w.lost
    ), event AS (
        INSERT INTO edge.worker_event (worker_name, team, kind, detail)
        SELECT worker_name, team, 'jobs_given_up',
            jsonb_build_object('last_heartbeat', last_heartbeat, 'jobs_lost', jobs)
        FROM given_up
    ), hinted AS (
        -- A worker that is connected after all stops the tasks.
        SELECT pg_notify('edge', 'cancel ' || worker_name) FROM given_up
    )
    SELECT worker_name, jobs, (SELECT count(*) FROM hinted) AS hints FROM given_up
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("window", type_=Interval), bindparam("stall", type_=Interval), canary=platform.CANARY)


def give_up_overdue(window: timedelta, stall: timedelta) -> Statement[GivenUp]:
    """Declare jobs lost whose workers are out of contact for longer than the jobs' tolerance.

    As with `agents.lose_silent`, a stall of the database counts as a sign of life.
    """
    return Statement("give_up_overdue", _GIVE_UP_OVERDUE.bindparams(window=window, stall=stall), GivenUp)


class AwayJob(NamedTuple):
    """A running job whose task can't renew its own token, and can't say in Airflow that it is alive."""

    id: UUID | str
    """Text where Airflow's own driver does not read UUIDs."""


_WANTING = "SELECT id FROM edge.job WHERE owner = :owner AND token_wanted AND state = 'running'"
_AWAY = text(
    f"""
    SELECT j.id FROM edge.worker w JOIN edge.job j ON j.worker_name = w.name
    WHERE NOT w.offline AND w.last_heartbeat < now() - :silence AND j.owner = :owner AND {KEPT}
    UNION
    {_WANTING}
    """  # noqa: S608  (constant texts)
).bindparams(bindparam("silence", type_=Interval))


def away(owner: str, silence: timedelta) -> Statement[AwayJob]:
    """Return a scheduler's jobs that are kept for workers silent for `silence`, and those that want a token."""
    return Statement("away", _AWAY.bindparams(owner=owner, silence=silence), AwayJob)


def want_token(owner: str) -> Statement[AwayJob]:
    """Return a scheduler's jobs for which the edge API wants a new token: usually none, found by a small index."""
    return Statement("want_token", text(_WANTING).bindparams(owner=owner), AwayJob)


def store_tokens(tokens: Mapping[UUID, str]) -> Command:
    """Store new tokens for running jobs, for the edge API to hand out when their tasks are in contact again."""
    executable = text(
        """
        UPDATE edge.job j SET execution_token = t.token, token_wanted = false
        FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS text[])) AS t(id, token)
        WHERE j.id IN (
            SELECT id FROM edge.job WHERE id = ANY (CAST(:ids AS uuid[])) AND state = 'running'
            FOR UPDATE SKIP LOCKED
        ) AND j.id = t.id
        """
    )
    return Command("store_tokens", executable.bindparams(ids=texts(tokens), tokens=list(tokens.values())))


class CallingJob(NamedTuple):
    """The job of a lease whose task calls Airflow."""

    id: UUID
    lease_id: UUID
    worker_name: str
    state: str
    execution_token: str | None
    """A token newer than the task's own, if its scheduler made one."""


def calling(lease_ids: Sequence[UUID]) -> Statement[CallingJob]:
    """Return the jobs of these leases; a void lease has no row."""
    executable = text(
        """
        SELECT id, lease_id, worker_name, state, execution_token FROM edge.job
        WHERE lease_id = ANY (CAST(:leases AS uuid[]))
        """
    )
    return Statement("calling", executable.bindparams(leases=texts(lease_ids)), CallingJob)


def ask_for_tokens(lease_ids: Sequence[UUID]) -> Command:
    """Ask the schedulers of running jobs for new tokens: those of their tasks are no longer valid."""
    executable = text(
        """
        UPDATE edge.job SET token_wanted = true WHERE id IN (
            SELECT id FROM edge.job
            WHERE lease_id = ANY (CAST(:leases AS uuid[])) AND state = 'running' AND NOT token_wanted
            FOR UPDATE SKIP LOCKED
        )
        """
    )
    return Command("ask_for_tokens", executable.bindparams(leases=texts(lease_ids)))


class OutOfContact(NamedTuple):
    """Jobs that are kept for unknown workers."""

    jobs: int


def out_of_contact() -> Statement[OutOfContact]:
    """Return how many jobs are kept for workers that are out of contact."""
    executable = text(
        f"""
        SELECT count(*) AS jobs FROM edge.worker w JOIN edge.job j ON j.worker_name = w.name
        WHERE w.lost AND NOT w.offline AND {KEPT}
        """  # noqa: S608  (constant texts)
    )
    return Statement("out_of_contact", executable, OutOfContact)
