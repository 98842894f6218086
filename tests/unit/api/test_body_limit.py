"""Bodies of calls count against the bytes that the process may hold."""

from typing import Final

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from edge_api.held_bytes import HeldBytes
from edge_api.http.limits import BODY_MAX_BYTES, SMALL_BYTES, BodyLimit
from edge_api.metrics import Metrics
from edge_protocol.execution import EXECUTION_PATH

MOST: Final = 1 << 20


async def test_a_body_counts_while_its_call_runs() -> None:
    held = HeldBytes(MOST, Metrics())
    fits = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        fits.append(held.fits(MOST // 2))
        await PlainTextResponse("ok")(scope, receive, send)

    transport = httpx.ASGITransport(app=BodyLimit(app, held, forwarded_max=MOST))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.post("/", content=bytes(MOST * 3 // 4))).status_code == 200
        assert fits == [False]
        assert held.fits(MOST)
        held.add(MOST)
        busy = await client.post("/", content=bytes(SMALL_BYTES + 1))
        assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (503, "busy", "1")
        assert (await client.post("/", content=bytes(SMALL_BYTES))).status_code == 200


async def test_forwarded_bodies_have_a_bound_of_their_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await PlainTextResponse("ok")(scope, receive, send)

    most = BODY_MAX_BYTES + 2
    limit = BodyLimit(app, HeldBytes(2 * most, Metrics()), forwarded_max=most)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=limit), base_url="http://api") as client:
        forwarded = f"{EXECUTION_PATH}/lease/xcoms/x"
        statuses = [
            (await client.post(path, content=bytes(size))).status_code
            for path, size in (
                (forwarded, most),
                (forwarded, most + 1),
                ("/", BODY_MAX_BYTES),
                ("/", BODY_MAX_BYTES + 1),
            )
        ]
    assert statuses == [200, 413, 200, 413]
