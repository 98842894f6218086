"""Calls on jobs, queues and the audit trail: all of them only read."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from edge_api.admin.parameters import LIMIT, AdminService, Cursor, Limit, WhoCalls
from edge_protocol.admin import AuditPage, Explanation, JobPage, JobView, QueueList, QueueView
from edge_protocol.job_state import JobState
from edge_protocol.limits import QUEUE_NAME_MAX, WORKER_NAME_MAX, QueueName

router = APIRouter()


@router.get("/queues", tags=["queues"])
async def list_queues(admin: AdminService, caller: WhoCalls) -> QueueList:
    """List all queues that have a job waiting or a worker."""
    return await admin.jobs.queues(caller)


@router.get("/queues/{queue:path}", tags=["queues"])
async def get_queue(
    admin: AdminService,
    caller: WhoCalls,
    queue: Annotated[str, Path(min_length=1, max_length=QUEUE_NAME_MAX, examples=["press"])],
) -> QueueView:
    """Get backlog and room of a queue; one that nobody knows is empty."""
    return await admin.jobs.queue(caller, queue)


@router.get("/jobs", tags=["jobs"])
async def list_jobs(
    admin: AdminService,
    caller: WhoCalls,
    state: JobState | None = None,
    queue: QueueName | None = None,
    worker: Annotated[str | None, Query(max_length=WORKER_NAME_MAX)] = None,
    dag_id: Annotated[str | None, Query(max_length=250)] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> JobPage:
    """List jobs, the newest first; finished ones are kept for a while."""
    return await admin.jobs.page(caller, state, queue, worker, dag_id, limit, cursor)


@router.get("/jobs/{job_id}", tags=["jobs"])
async def get_job(admin: AdminService, caller: WhoCalls, job_id: UUID) -> JobView:
    """Get one job."""
    return await admin.jobs.get(caller, job_id)


@router.get("/jobs/{job_id}/explain", tags=["jobs"])
async def explain_job(admin: AdminService, caller: WhoCalls, job_id: UUID) -> Explanation:
    """Answer "why is my job not starting?"."""
    return await admin.jobs.explain(caller, job_id)


@router.get("/audit", tags=["audit"])
async def list_audit(
    admin: AdminService,
    caller: WhoCalls,
    actor: Annotated[str | None, Query(max_length=512, description="Start of the actor.")] = None,
    action: Annotated[str | None, Query(max_length=128, description="Start of the action.")] = None,
    object_: Annotated[str | None, Query(alias="object", max_length=512, examples=["worker/plant-7"])] = None,
    since: datetime | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> AuditPage:
    """List what was done and what was refused, the newest first. A time without a zone is UTC."""
    moment = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since
    return await admin.trail.page(caller, actor, action, object_, moment, limit, cursor)
