"""Queues and jobs, and why a job does not start."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from edge_protocol.admin.common import example
from edge_protocol.admin.workers import Reason
from edge_protocol.job_state import JobState
from edge_protocol.worker_state import WorkerState

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
    "lease_id": None,
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
            "arrived_per_min": 3.4,
            "finished_per_min": 2.8,
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
    arrived_per_min: float = 0
    """Jobs that were queued in the last five minutes, per minute. A job that was queued again counts once."""
    finished_per_min: float = 0
    """Jobs that finished in the last five minutes, per minute; those that Airflow took back do not count."""


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
    lease_id: UUID | None
    """The claim of `worker`. None: the job waits, or was never given to a worker."""
    queued_at: datetime
    leased_at: datetime | None
    """When it was given to `worker`."""
    started_at: datetime | None
    """When the worker accepted it. Its task starts right after that, within moments if a runner is warm."""
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    outage_tolerance_s: int = 0
    """How long it stays with its worker while that is out of contact; 0: only until the worker counts as unknown."""


class JobPage(BaseModel):
    """Jobs, most recently queued first."""

    items: list[JobView]
    next: str | None = None


class Summary(BaseModel):
    """The fleet in one line, as far as the caller may see it."""

    model_config = example(
        {
            "at": "2026-11-21T20:00:00Z",
            "version": "0.1.0",
            "workers": dict.fromkeys(WorkerState, 0) | {"running": 9, "idle": 3, "unknown": 1},
            "slots": 96,
            "slots_used": 41,
            "jobs_queued": 12,
            "jobs_running": 41,
            "oldest_s": 4.2,
            "queues_unserved": ["paint"],
        }
    )

    at: datetime
    """Time of the database."""
    version: str
    """Version of the edge API."""
    workers: dict[WorkerState, int]
    """Number of workers in each of the twelve states."""
    slots: int
    """All slots of connected workers."""
    slots_used: int
    """Those of them that jobs use."""
    jobs_queued: int
    jobs_running: int
    """Jobs that workers hold: running, or given to a worker that has not accepted yet."""
    oldest_s: float
    """Seconds that the oldest waiting job has waited; 0 if none waits."""
    queues_unserved: list[str]
    """Queues with waiting jobs that no worker takes now, by name, at most 100."""


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
