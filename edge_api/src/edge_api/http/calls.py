"""The HTTP calls of protocol v2, and those for probes and Prometheus."""

import asyncio
from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from edge_api.errors import RefusedError
from edge_api.http.problems import problem
from edge_api.runtime import Runtime
from edge_protocol.frames import PROTOCOL_MAX, PROTOCOL_MIN
from edge_protocol.rest import (
    ENROLL_PATH,
    INFO_PATH,
    SYNC_PATH,
    ApiInfo,
    EnrollRequest,
    EnrollResponse,
    SyncRequest,
    SyncResponse,
)

router = APIRouter()


def runtime_of(request: Request) -> Runtime:
    """Return the services of this process."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def address_of(request: Request) -> str:
    """Return the client's address."""
    return request.client.host if request.client is not None else "unknown"


@router.get(INFO_PATH)
async def info() -> ApiInfo:
    """Say what this is: how a worker knows that a URL is this API."""
    return ApiInfo(version=version("airflow-edge-api"), protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX)


@router.post(ENROLL_PATH, status_code=201)
async def enroll(request: Request, body: EnrollRequest) -> EnrollResponse:
    """Trade a join token for a worker credential."""
    runtime = runtime_of(request)
    runtime.authenticator.check_brake(address_of(request))
    try:
        return await runtime.enrolment.enroll(body)
    except RefusedError as refusal:
        what = f"enrolment of {body.worker}"
        runtime.refusals.note(address_of(request), refusal.code, body.join_token, what)
        if refusal.status == 401:
            runtime.authenticator.note_failure(address_of(request))
        raise


@router.post(SYNC_PATH)
async def sync(request: Request, body: SyncRequest) -> SyncResponse:
    """Carry one turn of a long-poll session."""
    runtime = runtime_of(request)
    principal = await runtime.authenticator.worker(request.headers.get("authorization"), address_of(request))
    call = asyncio.create_task(runtime.sync.call(principal, body), name=f"sync-{principal.worker}")
    gone = asyncio.create_task(_disconnected(request), name=f"sync-{principal.worker}-gone")
    try:
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return call.result()
    finally:
        # A call that nobody waits for takes no frames out of the outbox any more.
        call.cancel()
        gone.cancel()
        await asyncio.gather(call, gone, return_exceptions=True)
    return SyncResponse(frames=[])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/healthz")
async def healthz() -> Response:
    """Say that the process lives: a service that dies ends the process, so an answer is all there is to say."""
    return PlainTextResponse("ok")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Say whether this replica can take workers."""
    trouble = await runtime_of(request).health.problem()
    if trouble is not None:
        return problem(503, "not_ready", trouble)
    return PlainTextResponse("ok")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Answer Prometheus."""
    return Response(await runtime_of(request).scrape.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
