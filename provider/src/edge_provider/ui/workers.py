"""Workers: the live list, one worker's details, and every action on workers."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from edge_protocol.admin import (
    CREDENTIALS_PATH,
    QUEUES_PATH,
    SUMMARY_PATH,
    WORKERS_PATH,
    BulkRequest,
    BulkResponse,
    BulkResult,
    CredentialPage,
    CredentialView,
    MaintenanceRequest,
    QueueList,
    RevokedCredentials,
    Summary,
    WorkerEventPage,
    WorkerMetrics,
    WorkerPatch,
    WorkerView,
    worker_credentials_path,
    worker_events_path,
    worker_maintenance_path,
    worker_metrics_path,
    worker_path,
    worker_shutdown_path,
)
from edge_protocol.limits import WORKER_NAME_MAX
from edge_protocol.worker_state import GONE_STATES, WorkerState
from edge_provider.ui.access import FromPage, Viewer, WhoLooks
from edge_provider.ui.client import EdgeApi, EdgeApiError
from edge_provider.ui.fleet import Fleet, FleetNews

Name = Annotated[str, Path(min_length=1, max_length=WORKER_NAME_MAX)]


class FleetSummary(BaseModel):
    """The fleet in one line, as far as the user may see it. Without jobs for users with limited teams."""

    workers: dict[WorkerState, int]
    slots: int
    slots_used: int
    jobs_queued: int | None
    oldest_s: float | None
    queues_unserved: list[str]


class WorkerDetails(BaseModel):
    """One worker, and the credentials that it can use now."""

    worker: WorkerView
    credentials: list[CredentialView]


class WorkerPages:
    """Reads and changes workers."""

    def __init__(self, api: EdgeApi, fleet: Fleet) -> None:
        self._api = api
        self._fleet = fleet
        self.router = router = APIRouter()
        router.get("/fleet", response_model=FleetNews)(self.news)
        router.get("/summary")(self.summary)
        router.get("/queues")(self.queues)
        changes = APIRouter(dependencies=[FromPage])
        changes.post("/workers/bulk")(self.act_on_many)
        router.get("/workers/{name}")(self.details)
        router.get("/workers/{name}/events")(self.events)
        router.get("/workers/{name}/metrics")(self.metrics)
        changes.patch("/workers/{name}")(self.adjust)
        changes.delete("/workers/{name}", status_code=204)(self.remove)
        changes.put("/workers/{name}/maintenance")(self.enter_maintenance)
        changes.delete("/workers/{name}/maintenance")(self.exit_maintenance)
        changes.put("/workers/{name}/shutdown")(self.shut_down)
        changes.delete("/workers/{name}/shutdown")(self.cancel_shutdown)
        changes.delete("/workers/{name}/credentials")(self.revoke)
        router.include_router(changes)

    # ---- reading ----

    async def news(self, viewer: WhoLooks, since: Annotated[str | None, Query(max_length=64)] = None) -> Response:
        """Return what has changed in the fleet; without `since`, all of it."""
        news = await self._fleet.news(since, lambda worker: viewer.sees_team(worker.team))
        # As bytes: checking a thousand workers against the model again would cost more than reading them.
        return Response(news.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})

    async def summary(self, viewer: WhoLooks) -> FleetSummary:
        """Count workers by state, slots, and waiting jobs."""
        if viewer.teams is None:
            found = await self._api.get(Summary, SUMMARY_PATH)
            return FleetSummary.model_validate(found, from_attributes=True)
        workers = [worker for worker in (await self._fleet.all()).values() if viewer.sees_team(worker.team)]
        connected = [worker for worker in workers if worker.state not in GONE_STATES]
        return FleetSummary(
            workers=Counter(worker.state for worker in workers),
            slots=sum(worker.concurrency for worker in connected),
            slots_used=sum(worker.slots_used for worker in connected),
            jobs_queued=None,
            oldest_s=None,
            queues_unserved=[],
        )

    async def queues(self, viewer: WhoLooks) -> QueueList:
        """Return backlog and capacity of each queue; with limited teams, of those that a visible worker serves."""
        found = await self._api.get(QueueList, QUEUES_PATH)
        if viewer.teams is None:
            return found
        workers = (await self._fleet.all()).values()
        served = {queue for worker in workers if viewer.sees_team(worker.team) for queue in worker.queues}
        return QueueList(items=[queue for queue in found.items if queue.queue in served])

    async def details(self, viewer: WhoLooks, name: Name) -> WorkerDetails:
        """Return one worker as it is now."""
        worker = await self._visible(viewer, name)
        credentials = await self._api.get(CredentialPage, CREDENTIALS_PATH, worker=name)
        return WorkerDetails(worker=worker, credentials=credentials.items)

    async def events(
        self, viewer: WhoLooks, name: Name, cursor: Annotated[str | None, Query(max_length=2048)] = None
    ) -> WorkerEventPage:
        """Return what happened to a worker; who did what only for those who may read the audit trail."""
        await self._visible(viewer, name)
        found = await self._api.get(WorkerEventPage, worker_events_path(name), cursor=cursor)
        if not await viewer.may_audit():
            found.items = [event for event in found.items if event.source == "state"]
        return found

    async def metrics(self, viewer: WhoLooks, name: Name) -> WorkerMetrics:
        """Return how a worker was doing in the last hour."""
        await self._visible(viewer, name)
        return await self._api.get(WorkerMetrics, worker_metrics_path(name))

    async def _visible(self, viewer: Viewer, name: str) -> WorkerView:
        worker = await self._api.get(WorkerView, worker_path(name))
        if not viewer.sees_team(worker.team):
            raise EdgeApiError(404, "worker_unknown", f"There is no worker {name}. See the list of workers.")
        return worker

    # ---- changing ----

    async def adjust(self, viewer: WhoLooks, name: Name, body: WorkerPatch) -> WorkerView:
        """Change queues and slots."""
        return await self._change(viewer, "PATCH", name, worker_path(name), body)

    async def remove(self, viewer: WhoLooks, name: Name) -> None:
        """Remove a worker that is gone, and revoke its credentials."""
        await self._check_act(viewer, name)
        await self._api.delete(viewer.name, worker_path(name))

    async def enter_maintenance(self, viewer: WhoLooks, name: Name, body: MaintenanceRequest) -> WorkerView:
        """Enter maintenance, or change its comment."""
        return await self._change(viewer, "PUT", name, worker_maintenance_path(name), body)

    async def exit_maintenance(self, viewer: WhoLooks, name: Name) -> WorkerView:
        """End maintenance."""
        return await self._change(viewer, "DELETE", name, worker_maintenance_path(name))

    async def shut_down(self, viewer: WhoLooks, name: Name) -> WorkerView:
        """Ask a worker to finish its tasks and stop."""
        return await self._change(viewer, "PUT", name, worker_shutdown_path(name))

    async def cancel_shutdown(self, viewer: WhoLooks, name: Name) -> WorkerView:
        """Cancel a shutdown that the worker has not begun."""
        return await self._change(viewer, "DELETE", name, worker_shutdown_path(name))

    async def revoke(self, viewer: WhoLooks, name: Name) -> RevokedCredentials:
        """Revoke all credentials of a worker."""
        await self._check_act(viewer, name)
        return await self._api.write(RevokedCredentials, viewer.name, "DELETE", worker_credentials_path(name))

    async def _change(
        self, viewer: Viewer, method: str, name: str, path: str, body: BaseModel | None = None
    ) -> WorkerView:
        await self._check_act(viewer, name)
        return await self._api.write(WorkerView, viewer.name, method, path, body)

    async def _check_act(self, viewer: Viewer, name: str) -> None:
        # Whoever may change nothing learns nothing about which workers there are.
        await viewer.check_act()
        worker = await self._visible(viewer, name)
        await viewer.check_act(worker.team)

    async def act_on_many(self, viewer: WhoLooks, body: BulkRequest) -> BulkResponse:
        """Apply one action to the named workers; each has its own result."""
        await viewer.check_act()
        if body.names is None:
            raise EdgeApiError(422, "invalid", "Name the workers: the fleet page takes no filter.")
        known = await self._fleet.all()
        refused: dict[str, BulkResult] = {}
        for name in body.names:
            worker = known.get(name)
            if worker is None or not viewer.sees_team(worker.team):
                refused[name] = BulkResult(
                    name=name, ok=False, code="worker_unknown", detail=f"There is no worker {name} any more."
                )
        for team in {known[name].team for name in body.names if name not in refused}:
            await viewer.check_act(team)
        names = [name for name in body.names if name not in refused]
        results = list(refused.values())
        if names:
            request = body.model_copy(update={"names": names})
            answer = await self._api.write(BulkResponse, viewer.name, "POST", f"{WORKERS_PATH}/bulk", request)
            results += answer.results
        return BulkResponse(results=sorted(results, key=lambda result: result.name))
