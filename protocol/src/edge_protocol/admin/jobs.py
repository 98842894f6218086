"""Queues and jobs, and why a job does not start."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from edge_protocol.admin.common import example
from edge_protocol.admin.workers import Reason
from edge_protocol.job_state import JobState

_JOB_EXAMPLE: dict[str, Any] = {
    "id": "0198c2a0-0000-7000-8000-000000000001",
    "kind": "task",
    "state": "queued",
    "queue": "press",
    "team": None,
    "priority": 1,
    "slots": 4,
    "dag_id": "stamping",
    "task_id": "inspect",
    "run_id": "scheduled__2026-11-21T00:00:00+00:00",
    "map_index": -1,
    "try_number": 1,
    "worker": None,
    "queued_at": "2026-11-21T20:00:00Z",
    "leased_at": None,
    "started_at": None,
    "finished_at": None,
    "exit_code": None,
    "error": None,
}


class QueueView(BaseModel):
    """Backlog and capacity of a queue."""

    model_config = example(
        {
            "queue": "press",
            "depth": 12,
            "oldest_s": 4.2,
            "slots_free": 7,
            "slots_used": 1,
            "workers_capable": 2,
            "workers_cordoned": 1,
        }
    )

    queue: str
    depth: int
    """Number of waiting jobs."""
    oldest_s: float
    """Seconds that the oldest of them has waited; 0 if none waits."""
    slots_free: int
    """Free slots of the workers that may be given jobs now."""
    slots_used: int
    """Used slots of all live workers of the queue. A worker of several queues counts in each of them."""
    workers_capable: int
    """Live workers that serve the queue and may be given jobs."""
    workers_cordoned: int
    """Live workers that serve the queue and may not be given jobs."""


class QueueList(BaseModel):
    """All queues with a waiting job or a worker, by name."""

    items: list[QueueView]


class JobView(BaseModel):
    """A job, without its workload, which holds the task's token."""

    model_config = example(_JOB_EXAMPLE)

    id: UUID
    kind: Literal["task", "callback"]
    state: JobState
    queue: str
    team: str | None
    priority: int
    slots: int
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    worker: str | None
    queued_at: datetime
    leased_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None


class JobPage(BaseModel):
    """Jobs, most recently queued first."""

    items: list[JobView]
    next: str | None = None


class Verdict(StrEnum):
    """Why a job is where it is."""

    FINISHED = "finished"
    RUNNING = "running"
    LEASED = "leased"
    """Given to a worker that has not accepted yet."""
    DISPATCHING = "dispatching"
    """A worker can take it: it is about to be dispatched."""
    NO_WORKER = "no_worker"
    """No worker of the fleet serves the queue."""
    TEAM = "team"
    """Workers serve the queue, but none of them for the job's team."""
    GONE = "gone"
    """All suitable workers are offline or unknown."""
    CORDONED = "cordoned"
    """All suitable live workers are in maintenance or shutting down."""
    VERSION = "version"
    """All suitable live workers are cordoned because of their version."""
    STARTING = "starting"
    """All suitable workers are starting."""
    SLOTS_NEVER = "slots_never"
    """No suitable worker has as many slots as the job needs."""
    SLOTS_BUSY = "slots_busy"
    """There are suitable workers, but not enough of their slots are free now."""


class WorkerVerdict(BaseModel):
    """Why one worker does not run the job. Without reasons, it can."""

    name: str
    reasons: list[Reason]


class Explanation(BaseModel):
    """The answer to "why does my job not start?"."""

    model_config = example(
        {
            "job": _JOB_EXAMPLE,
            "verdict": "slots_busy",
            "message": "The job needs 4 slots; the most that any worker of queue press has free now is 2 (plant-7). "
            "It starts when a worker has finished enough of its jobs.",
            "workers": [
                {
                    "name": "plant-7",
                    "reasons": [{"code": "slots_busy", "message": "2 of 8 slots are free, the job needs 4."}],
                }
            ],
        }
    )

    job: JobView
    verdict: Verdict
    message: str
    """One or two sentences that say what to do."""
    workers: list[WorkerVerdict]
    """The workers that serve the queue (of any team): at most 100, the closest matches first."""
