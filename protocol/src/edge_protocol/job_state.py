"""The life of a job.

    queued --claim--> leased --accept--> running --report--> succeeded | failed
      ^                 |                   |
      +-- not accepted -+                   +-- worker lost --> lost
    any unfinished --revoke--> removed

A job whose task Airflow queues again under the same ID (a deferred task that resumes, a sensor in reschedule mode)
starts again from `queued`, whatever state it was in: that is Airflow's decision.
"""

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job. The values are stored and shown; their meaning never changes."""

    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    REMOVED = "removed"


class JobEvent(StrEnum):
    """What can happen to a job."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    ACCEPT = "accept"
    EXPIRE = "expire"
    REPORT_SUCCESS = "report_success"
    REPORT_FAILURE = "report_failure"
    LOSE = "lose"
    REVOKE = "revoke"


HELD_STATES = frozenset({JobState.LEASED, JobState.RUNNING})
"""States in which exactly one worker holds the job under a lease."""

FINISHED_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.LOST, JobState.REMOVED})
"""States that only a new enqueue leaves."""

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.QUEUED, JobEvent.CLAIM): JobState.LEASED,
    (JobState.LEASED, JobEvent.ACCEPT): JobState.RUNNING,
    (JobState.LEASED, JobEvent.EXPIRE): JobState.QUEUED,
    # A repeated accept: the first one was acknowledged, but the acknowledgement was lost.
    (JobState.RUNNING, JobEvent.ACCEPT): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.REPORT_SUCCESS): JobState.SUCCEEDED,
    (JobState.RUNNING, JobEvent.REPORT_FAILURE): JobState.FAILED,
    # The accept was sent before the report on the same wire, so the report implies it.
    (JobState.LEASED, JobEvent.REPORT_SUCCESS): JobState.SUCCEEDED,
    (JobState.LEASED, JobEvent.REPORT_FAILURE): JobState.FAILED,
    (JobState.RUNNING, JobEvent.LOSE): JobState.LOST,
    **{(state, JobEvent.ENQUEUE): JobState.QUEUED for state in JobState},
    **{(state, JobEvent.REVOKE): JobState.REMOVED for state in (JobState.QUEUED, JobState.LEASED, JobState.RUNNING)},
}
"""Every allowed transition. The store's statements decide transitions, by the states in their WHERE clauses;
tests/store/test_stateful.py checks them against this table."""


def next_state(state: JobState, event: JobEvent) -> JobState | None:
    """Return the state after `event`, or None if the event does not apply (a stale or foreign message)."""
    return TRANSITIONS.get((state, event))
