"""The relay while the line is cut: what it answers itself, what it holds, and until when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from edge_protocol.execution import TASK_HEADER
from edge_protocol.rest import Problem
from edge_testing.waiting import until
from edge_worker.relay import heartbeats, relay, task
from edge_worker.relay.relay import Relay
from edge_worker.relay.task import Tokens

HEARTBEAT = "task-instances/1/heartbeat"
STATE = "task-instances/1/state"
AWAY = Problem(title="Away", status=503, detail="Airflow does not answer.", code="airflow_away")
JSON = {"Content-Type": "application/json"}


class Site:
    """A relay with one task that survives without contact, and its supervisor's client."""

    def __init__(self, api: Any, relay: Relay, http: aiohttp.ClientSession) -> None:
        self.api = api
        self.relay = relay
        self.lease: UUID = uuid4()
        self.left_s = 600.0
        self.url = ""
        self.token = "first"
        self._http = http

    async def open(self) -> None:
        self.url = await self.relay.open(self.lease, lambda: self.left_s)

    async def call(
        self, path: str, method: str = "PUT", data: bytes = b"{}", url: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {**JSON, "Authorization": f"Bearer {self.token}"}
        async with self._http.request(method, f"{url or self.url}{path}", headers=headers, data=data) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    def start(self, path: str, data: bytes = b"{}", url: str | None = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.call(path, data=data, url=url), name=f"call of {path}")

    def came(self, end: str) -> list[bytes]:
        """Return the bodies of the calls that have reached the edge API."""
        return [body for path, _, body in self.api.execution_calls if path.endswith(end)]

    def tokens(self, end: str) -> list[str]:
        return [headers[TASK_HEADER] for path, headers, _ in self.api.execution_calls if path.endswith(end)]


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={**JSON, **headers})


def others() -> set[str]:
    """Return the names of the relay's own tasks for leases."""
    return {found.get_name() for found in asyncio.all_tasks() if found.get_name().startswith("heartbeats of ")}


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_RETRY_LONGEST_S", 0.05)
    monkeypatch.setattr(task, "LAST_CALL_S", 0.2)


@pytest.fixture
async def site(api: Any) -> AsyncIterator[Site]:
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer good"}) as up, aiohttp.ClientSession() as http:
        found = Relay(up, api.url)
        serving = asyncio.create_task(found.serve(), name="relay")
        site = Site(api, found, http)
        await site.open()
        yield site
        found.close(site.lease)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        for hung in api.answers.values():
            if isinstance(hung, asyncio.Event):
                hung.set()


async def held(site: Site, calls: int, end: str) -> None:
    """Wait until a call has gone out so many times and nobody has answered."""
    await until(lambda: len(site.came(end)) >= calls, "a call that is tried again")


async def test_heartbeat_is_answered_at_once_while_the_edge_api_hangs(site: Site) -> None:
    site.api.answers[HEARTBEAT] = asyncio.Event()
    for _ in range(3):
        assert (await site.call(HEARTBEAT))[0] == 204
    await until(lambda: site.came(HEARTBEAT), "the first one is forwarded at once")
    assert len(site.came(HEARTBEAT)) == 1, "one at a time"


async def test_heartbeat_is_answered_at_once_while_the_edge_api_is_down(site: Site) -> None:
    await site.api.stop()
    assert (await site.call(HEARTBEAT))[0] == 204
    await site.api.start()
    site.relay.line_is_back()
    await until(lambda: site.came(HEARTBEAT), "it is forwarded once the worker is connected")


async def test_heartbeats_are_coalesced(site: Site) -> None:
    assert (await site.call(HEARTBEAT, data=b"1"))[0] == 204
    await until(lambda: site.came(HEARTBEAT), "the first one")
    for number in (b"2", b"3", b"4"):
        assert (await site.call(HEARTBEAT, data=number))[0] == 204
    assert site.came(HEARTBEAT) == [b"1"], "the next one is due after 10 s"


async def test_the_last_heartbeat_of_an_interval_is_forwarded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PACE_S", 0.3)
    site.api.answers[HEARTBEAT] = hang = asyncio.Event()
    await site.call(HEARTBEAT, data=b"1")
    await until(lambda: site.came(HEARTBEAT), "the first one")
    for number in (b"2", b"3"):
        await site.call(HEARTBEAT, data=number)
    del site.api.answers[HEARTBEAT]
    hang.set()
    await until(lambda: len(site.came(HEARTBEAT)) > 1, "the next one")
    assert site.came(HEARTBEAT) == [b"1", b"3"]


@pytest.mark.parametrize("status", [404, 409, 410])
async def test_airflows_verdict_is_the_answer_to_the_next_heartbeats(site: Site, status: int) -> None:
    body = b'{"detail":{"reason":"not_running"}}'
    site.api.answers[HEARTBEAT] = answer(status, body)
    assert (await site.call(HEARTBEAT))[0] == 204
    for _ in range(2):

        async def refused() -> Any:
            found = await site.call(HEARTBEAT)
            return found if found[0] != 204 else None

        found, headers, text = await until(refused, "the verdict")
        assert (found, headers["Content-Type"], text) == (status, "application/json", body)


async def test_refusal_of_the_edge_api_is_a_verdict_too(site: Site) -> None:
    site.api.answers[HEARTBEAT] = site.api.problem(
        Problem(title="Gone", status=410, detail="It is over.", code="fenced")
    )
    await site.call(HEARTBEAT)
    await until(lambda: site.came(HEARTBEAT), "forwarded")

    async def refused() -> Any:
        found = await site.call(HEARTBEAT)
        return found if found[0] != 204 else None

    status, headers, body = await until(refused, "the verdict")
    assert (status, headers["Content-Type"]) == (410, "application/json")
    assert body == b'{"detail": {"reason": "fenced", "message": "It is over."}}'


async def test_passing_refusal_is_handed_on_once(site: Site) -> None:
    """Three failures in a row end a task."""
    site.api.answers[HEARTBEAT] = answer(403)
    statuses = [(await site.call(HEARTBEAT))[0]]

    async def refused() -> bool:
        statuses.append((await site.call(HEARTBEAT))[0])
        return statuses[-1] != 204

    await until(refused, "the refusal")
    statuses += [(await site.call(HEARTBEAT))[0] for _ in range(3)]
    assert statuses.count(403) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_error_of_a_server_is_no_verdict(site: Site, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "PACE_S", 0.01)
    site.api.answers[HEARTBEAT] = answer(status)
    await site.call(HEARTBEAT)
    await held(site, 3, HEARTBEAT)
    assert (await site.call(HEARTBEAT))[0] == 204
    site.api.answers[HEARTBEAT] = answer(409)

    async def refused() -> bool:
        return (await site.call(HEARTBEAT))[0] == 409

    await until(refused, "the verdict that came in the end")


async def test_renewed_token_of_a_background_answer_reaches_the_supervisor(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "PACE_S", 0.01)
    site.api.answers[HEARTBEAT] = answer(204, b"", **{"Refreshed-API-Token": "second"})
    assert "Refreshed-API-Token" not in (await site.call(HEARTBEAT))[1]

    async def renewed() -> Any:
        return (await site.call(HEARTBEAT))[1].get("Refreshed-API-Token")

    assert await until(renewed, "the new token") == "second"
    # With each answer, of any kind, until the supervisor uses it.
    assert (await site.call("xcoms/x", "POST"))[1]["Refreshed-API-Token"] == "second"
    site.api.answers["gone"] = answer(404)
    assert (await site.call("variables/gone", "GET"))[1]["Refreshed-API-Token"] == "second"
    assert site.tokens("xcoms/x") == ["second"], "an old token of the supervisor may have expired"
    site.token = "second"
    assert "Refreshed-API-Token" not in (await site.call("xcoms/x", "POST"))[1]
    # What the supervisor brings and nobody has seen is newer.
    site.api.answers.clear()
    site.token = "third"
    await site.call(HEARTBEAT)
    await until(lambda: site.tokens(HEARTBEAT)[-1] == "third", "a background call with it")
    assert "Refreshed-API-Token" not in (await site.call(HEARTBEAT))[1]


def test_newest_token() -> None:
    tokens = Tokens()
    assert tokens.refresh("a", {"x": "y"}) == {"x": "y"}, "none is known"
    assert tokens.note("a") == "a"
    assert tokens.refresh("a", {"refreshed-api-token": "b"}) == {"refreshed-api-token": "b"}
    assert tokens.note("a") == "b"
    assert tokens.refresh("a", {}) == {"Refreshed-API-Token": "b"}
    # Its own answer's token is the last word, also over one that came in the background.
    assert tokens.refresh("a", {"Refreshed-API-Token": "c"}) == {"Refreshed-API-Token": "c"}
    assert tokens.note("b") == "c"
    assert tokens.note("d") == "d"


async def test_calls_are_held_over_a_cut_and_delivered_once_and_in_order(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than what a task without tolerance is granted."""
    monkeypatch.setattr(task, "HOLD_S", 0.05)
    intolerant = await site.relay.open(uuid4())
    await site.api.stop()
    xcom = site.start("xcoms/d/r/t/k", b'"value"')
    status, _, body = await site.call("variables/x", url=intolerant)
    assert (status, b"edge_api_away" in body) == (503, True)
    assert not xcom.done()
    assert (await site.call(HEARTBEAT))[0] == 204
    await site.api.start()
    assert (await xcom)[0] == 200
    assert (await site.call(STATE, data=b"success"))[0] == 200
    assert [body for path, _, body in site.api.execution_calls if not path.endswith(HEARTBEAT)] == [
        b'"value"',
        b"success",
    ]


@pytest.mark.parametrize("code", ["airflow_away", "token_expired"])
async def test_final_state_is_held_and_delivered(site: Site, code: str) -> None:
    site.api.answers[STATE] = site.api.problem(AWAY.model_copy(update={"code": code}))
    state = site.start(STATE, b"success")
    await held(site, 3, STATE)
    assert not state.done()
    site.api.answers[STATE] = web.Response(status=204)
    assert (await state)[0] == 204
    assert set(site.came(STATE)) == {b"success"}


async def test_held_call_is_tried_at_once_when_the_worker_is_connected_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_worker.backoff.Backoff.next_delay", lambda *_args: 1000.0)
    site.api.answers[STATE] = site.api.problem(AWAY)
    state = site.start(STATE)
    await held(site, 1, STATE)
    site.api.answers.clear()

    def done() -> bool:
        # Again and again, since the call may not wait yet.
        site.relay.line_is_back()
        return state.done()

    await until(done, "the answer")
    assert (await state)[0] == 200


def fenced(found: tuple[int, dict[str, str], bytes]) -> bool:
    return (found[0], found[1]["Content-Type"], b'"reason": "fenced"' in found[2]) == (410, "application/json", True)


async def test_held_call_of_a_task_that_must_end_is_refused(site: Site) -> None:
    await site.api.stop()
    state = site.start(STATE)
    await asyncio.sleep(0)
    site.relay.hold_no_more(site.lease)
    assert fenced(await state)
    assert fenced(await site.call("variables/x")), "later ones, too"
    assert fenced(await site.call(HEARTBEAT)), "and heartbeats"
    await site.api.start()


async def test_call_that_hangs_is_refused_when_its_task_must_end(site: Site) -> None:
    site.api.answers[STATE] = site.api.answers["x"] = site.api.answers[HEARTBEAT] = asyncio.Event()
    state = site.start(STATE)
    await held(site, 1, STATE)
    site.relay.hold_no_more(site.lease)
    assert fenced(await state)
    assert fenced(await site.call("variables/x")), "later ones, too"
    assert fenced(await site.call(HEARTBEAT)), "and heartbeats"


async def test_last_words_pass_while_the_line_is_up(site: Site) -> None:
    """A task that is cancelled or drained reports its state."""
    site.relay.hold_no_more(site.lease)
    assert (await site.call(STATE, data=b"failed"))[0] == 200
    assert site.came(STATE) == [b"failed"]


async def test_call_is_held_no_longer_than_the_task_may_live(site: Site) -> None:
    site.api.answers[STATE] = site.api.problem(AWAY)
    state = site.start(STATE)
    await held(site, 2, STATE)
    site.left_s = 0
    assert fenced(await state)


async def test_heartbeat_of_a_task_without_tolerance_takes_the_whole_way(site: Site) -> None:
    lease = uuid4()
    url = await site.relay.open(lease)
    site.api.answers[HEARTBEAT] = answer(409, b'{"detail":"x"}')
    status, _, body = await site.call(HEARTBEAT, url=url)
    assert (status, body) == (409, b'{"detail":"x"}')
    site.api.answers[STATE] = site.api.problem(AWAY)
    state = site.start(STATE, url=url)
    await held(site, 2, STATE)
    site.relay.hold_no_more(lease)
    status, _, body = await state
    assert (status, b"Airflow does not answer" in body) == (503, True)


async def test_close_leaves_no_task_and_no_held_call(site: Site) -> None:
    site.api.answers[STATE] = site.api.problem(AWAY)
    site.api.answers[HEARTBEAT] = asyncio.Event()
    await site.call(HEARTBEAT)
    state = site.start(STATE)
    await held(site, 2, STATE)
    await until(lambda: site.came(HEARTBEAT), "a heartbeat under way")
    assert others() == {f"heartbeats of lease {site.lease}"}
    site.relay.close(site.lease)
    assert fenced(await state)
    await until(lambda: not others(), "the end of the background call")
    assert (await site.call("variables/x"))[0] == 404


async def test_end_of_the_relay_leaves_no_task_and_is_not_delayed(api: Any) -> None:
    async with aiohttp.ClientSession() as up, aiohttp.ClientSession() as http:
        found = Relay(up, api.url)
        serving = asyncio.create_task(found.serve(), name="relay")
        site = Site(api, found, http)
        await site.open()
        await api.stop()
        state = site.start(STATE)
        await site.call(HEARTBEAT)
        serving.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await serving
            await asyncio.gather(state, return_exceptions=True)
        assert others() == set()


async def test_long_answer_breaks_off_when_the_task_must_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an answer is on its way down: the supervisor sees that it is not the whole."""
    go_on: Callable[[], Awaitable[Any]] = asyncio.Event().wait

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON)
        await response.prepare(request)
        await response.write(b"x" * 1000)
        await go_on()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(site.relay._upstream, "_api_url", f"http://127.0.0.1:{runner.addresses[0][1]}")
    call = asyncio.create_task(site.call("xcoms/large", "GET"), name="call")
    await until(lambda: any(entry.task._attempts for entry in site.relay._tasks.values()), "the call")
    site.relay.hold_no_more(site.lease)
    with pytest.raises(aiohttp.ClientError):
        await call
    await runner.cleanup()
