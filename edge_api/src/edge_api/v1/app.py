"""The v1 wire as an application to be mounted."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_api import __version__
from edge_api.errors import RefusedError
from edge_api.http import problems
from edge_api.http.address import address_of
from edge_api.http.docs import docs_router, open_paths
from edge_api.http.openapi import PROBLEMS, describe
from edge_api.identity.refusals import Refusals
from edge_api.v1.auth import V1Tokens
from edge_api.v1.jobs import TaskName, V1Jobs
from edge_api.v1.models import (
    EdgeJobFetched,
    PushLogsBody,
    WorkerQueuesBody,
    WorkerQueueUpdateBody,
    WorkerRegistrationReturn,
    WorkerSetStateReturn,
    WorkerStateBody,
)
from edge_api.v1.state import TaskState
from edge_api.v1.workers import V1Workers
from edge_protocol.limits import WORKER_NAME_MAX, WORKER_NAME_PATTERN

V1_PATH: Final = "/edge_worker/v1"
OPENAPI_PATH: Final = f"{V1_PATH}/openapi.json"
HEALTH_PATH: Final = f"{V1_PATH}/health"

router = APIRouter()

Name = Annotated[str, Path(max_length=WORKER_NAME_MAX, pattern=WORKER_NAME_PATTERN, examples=["plant-7"])]
Key = Annotated[str, Path(min_length=1, max_length=250)]
Number = Annotated[int, Path(ge=-(2**31), lt=2**31)]


def _workers(request: Request) -> V1Workers:
    workers: V1Workers = request.app.state.workers
    return workers


def _jobs(request: Request) -> V1Jobs:
    jobs: V1Jobs = request.app.state.jobs
    return jobs


Workers = Annotated[V1Workers, Depends(_workers)]
Jobs = Annotated[V1Jobs, Depends(_jobs)]


class Gate:
    """Checks the token of each call, except of those that need none."""

    def __init__(self, app: ASGIApp, tokens: V1Tokens, refusals: Refusals) -> None:
        self._open_paths = frozenset({HEALTH_PATH, OPENAPI_PATH}) | (open_paths(V1_PATH) if tokens.enabled else set())
        self._app = app
        self._tokens = tokens
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        address = address_of(request)
        method = scope["path"].removeprefix(f"{V1_PATH}/")
        try:
            self._tokens.check(request.headers.get("authorization"), method, address)
        except RefusedError as refusal:
            self._refusals.note(address, refusal.code, None, f"{request.method} {scope['path'][:200]}")
            await problems.refused(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@router.get("/health", tags=["monitor"])
async def health() -> dict[str, str]:
    """Answer that the API is there; needs no token."""
    return {"status": "healthy"}


@router.post("/worker/{worker_name}", tags=["worker"])
async def register(workers: Workers, worker_name: Name, body: WorkerStateBody) -> WorkerRegistrationReturn:
    """Register a worker."""
    return await workers.register(worker_name, body)


@router.patch("/worker/{worker_name}", tags=["worker"])
async def set_state(workers: Workers, worker_name: Name, body: WorkerStateBody) -> WorkerSetStateReturn:
    """Store a worker's state, and answer with its desired state."""
    return await workers.heartbeat(worker_name, body)


@router.patch("/worker/queues/{worker_name}", tags=["worker"])
async def update_queues(workers: Workers, worker_name: Name, body: WorkerQueueUpdateBody) -> None:
    """Add and remove queues of a worker."""
    await workers.change_queues(worker_name, body)


@router.post("/jobs/fetch/{worker_name}", tags=["jobs"])
async def fetch(jobs: Jobs, worker_name: Name, body: WorkerQueuesBody) -> EdgeJobFetched | None:
    """Give a job to a worker, or null."""
    return await jobs.fetch(worker_name, body)


@router.patch("/jobs/state/{dag_id}/{task_id}/{run_id}/{try_number}/{map_index}/{state}", tags=["jobs"])
async def report_state(
    jobs: Jobs,
    request: Request,
    dag_id: Key,
    task_id: Key,
    run_id: Key,
    try_number: Number,
    map_index: Number,
    state: TaskState,
    task_instance_id: Annotated[UUID | None, Body(embed=True)] = None,
) -> None:
    """Store the state of a job; a report that does not apply changes nothing."""
    name = TaskName(task_instance_id, dag_id, task_id, run_id, try_number, map_index)
    await jobs.report(name, state, address_of(request))


@router.get("/logs/logfile_path/{dag_id}/{task_id}/{run_id}/{try_number}/{map_index}", tags=["logs"])
async def logfile_path(
    jobs: Jobs,
    dag_id: Key,
    task_id: Key,
    run_id: Key,
    try_number: Number,
    map_index: Number,
    task_instance_id: Annotated[UUID | None, Query()] = None,
) -> str:
    """Get the path of a task's log."""
    return await jobs.log_path(TaskName(task_instance_id, dag_id, task_id, run_id, try_number, map_index))


@router.post("/logs/push/{dag_id}/{task_id}/{run_id}/{try_number}/{map_index}", tags=["logs"])
async def push_logs(
    jobs: Jobs,
    request: Request,
    dag_id: Key,
    task_id: Key,
    run_id: Key,
    try_number: Number,
    map_index: Number,
    body: PushLogsBody,
) -> None:
    """Append to a task's log."""
    name = TaskName(body.task_instance_id, dag_id, task_id, run_id, try_number, map_index)
    await jobs.push_log(name, body.log_chunk_data, address_of(request))


def make_v1_app(tokens: V1Tokens, workers: V1Workers, jobs: V1Jobs, refusals: Refusals) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="Airflow Edge v1 wire",
        version=__version__,
        description="The wire of apache-airflow-providers-edge3 5.1.0, for edge3 workers.",
        docs_url=None,
        redoc_url=None,
        openapi_url=OPENAPI_PATH.removeprefix(V1_PATH),
        responses=PROBLEMS,
    )
    app.state.workers = workers
    app.state.jobs = jobs
    app.include_router(router)
    if tokens.enabled:
        app.include_router(docs_router(app.title))
    problems.install(app)
    app.add_middleware(Gate, tokens=tokens, refusals=refusals)
    security: dict[str, Any] = {"type": "apiKey", "in": "header", "name": "Authorization"}
    describe(app, V1_PATH, security)
    return app
