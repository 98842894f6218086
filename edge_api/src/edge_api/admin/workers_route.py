"""Calls on workers."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from edge_api.admin.parameters import LIMIT, AdminService, Cursor, Limit, Name, WhoCalls
from edge_protocol.admin import (
    BulkRequest,
    BulkResponse,
    MaintenanceRequest,
    RevokedCredentials,
    WorkerFilter,
    WorkerPage,
    WorkerPatch,
    WorkerView,
)
from edge_protocol.limits import QueueName
from edge_protocol.worker_state import WorkerState

router = APIRouter(tags=["workers"])


@router.get("/workers")
async def list_workers(
    admin: AdminService,
    caller: WhoCalls,
    state: Annotated[list[WorkerState] | None, Query(description="Any of these states.")] = None,
    queue: Annotated[list[QueueName] | None, Query(max_length=256, description="Serves any of these queues.")] = None,
    team: Annotated[str | None, Query(max_length=256)] = None,
    name: Annotated[str | None, Query(min_length=1, max_length=512, description="A glob: `*`, `?`, `[abc]`.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> WorkerPage:
    """List workers by name; all conditions that are given must hold."""
    return await admin.fleet.page(caller, WorkerFilter(state=state, queue=queue, team=team, name=name), limit, cursor)


@router.post("/workers/bulk")
async def act_on_many(admin: AdminService, caller: WhoCalls, body: BulkRequest) -> BulkResponse:
    """Do one thing to many workers; each has its own result, and what fails for one does not stop the others."""
    return BulkResponse(results=await admin.fleet.bulk(caller, body))


@router.get("/workers/{name}")
async def get_worker(admin: AdminService, caller: WhoCalls, name: Name) -> WorkerView:
    """Get one worker."""
    return await admin.fleet.get(caller, name)


@router.patch("/workers/{name}")
async def adjust_worker(admin: AdminService, caller: WhoCalls, name: Name, body: WorkerPatch) -> WorkerView:
    """Change queues and concurrency, without a restart."""
    return await admin.fleet.adjust(caller, name, body)


@router.delete("/workers/{name}", status_code=204)
async def remove_worker(admin: AdminService, caller: WhoCalls, name: Name) -> Response:
    """Remove a worker that is offline or lost, and revoke its credentials; refused while it lives."""
    await admin.fleet.remove(caller, name)
    return Response(status_code=204)


@router.put("/workers/{name}/maintenance")
async def enter_maintenance(admin: AdminService, caller: WhoCalls, name: Name, body: MaintenanceRequest) -> WorkerView:
    """Enter maintenance, or change its comment. Not one more job is given to the worker from now on."""
    return await admin.fleet.request_maintenance(caller, name, body.comment)


@router.delete("/workers/{name}/maintenance")
async def exit_maintenance(admin: AdminService, caller: WhoCalls, name: Name) -> WorkerView:
    """End maintenance; nothing happens to a worker that is in none."""
    return await admin.fleet.exit_maintenance(caller, name)


@router.put("/workers/{name}/shutdown")
async def request_shutdown(admin: AdminService, caller: WhoCalls, name: Name) -> WorkerView:
    """Ask a live worker to finish its jobs and stop."""
    return await admin.fleet.request_shutdown(caller, name)


@router.delete("/workers/{name}/shutdown")
async def cancel_shutdown(admin: AdminService, caller: WhoCalls, name: Name) -> WorkerView:
    """Take a shutdown back that the worker has not begun."""
    return await admin.fleet.cancel_shutdown(caller, name)


@router.delete("/workers/{name}/credentials")
async def revoke_credentials_of_worker(admin: AdminService, caller: WhoCalls, name: Name) -> RevokedCredentials:
    """Revoke all credentials of a worker; its session ends within a second, on whatever replica it is."""
    return RevokedCredentials(revoked=await admin.identity.revoke_of_worker(caller, name))
