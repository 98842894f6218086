"""The call that rotates a worker's credential."""

from fastapi import APIRouter, Request

from edge_api.http.calls import address_of, runtime_of
from edge_protocol.rest import ROTATE_PATH, RotateResponse

router = APIRouter()


@router.post(ROTATE_PATH, status_code=201)
async def rotate(request: Request) -> RotateResponse:
    """Trade the credential of the call for its successor."""
    runtime = runtime_of(request)
    principal = await runtime.authenticator.worker(request.headers.get("authorization"), address_of(request))
    return await runtime.rotation.rotate(principal)
