"""A stand-in for the edge API that tests of the agent control."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from aiohttp import WSMsgType, web

from edge_protocol.execution import EXECUTION_PATH
from edge_protocol.frames import (
    Accept,
    Ack,
    AgentFrame,
    Bye,
    Fenced,
    Frame,
    Hello,
    Job,
    Log,
    Report,
    Welcome,
    parse_agent_frame,
)
from edge_protocol.rest import (
    ENROLL_PATH,
    INFO_PATH,
    SESSION_PATH,
    SYNC_PATH,
    ApiInfo,
    EnrollRequest,
    EnrollResponse,
    Problem,
    SyncRequest,
    SyncResponse,
)
from edge_testing.waiting import until

F = TypeVar("F", bound=Frame)
T = TypeVar("T")

WAIT_S = 30.0


class FakeEdgeApi:
    """Speaks v2 over both transports, remembers every frame, and acknowledges as the real one does."""

    def __init__(self) -> None:
        self.frames: list[AgentFrame] = []
        self.transports: list[str] = []
        self.logs: dict[UUID, bytearray] = {}
        self.skipped: dict[UUID, int] = {}
        self.credential = "good"
        self.join_token = "join-me"
        self.join_problem: Problem | None = None
        self.enroll_redirect: str | None = None
        self.info_problem: Problem | None = None
        self.refuse_websocket: int | None = None
        self.break_websocket = False
        self.ack_accepts = self.ack_reports = self.ack_logs = True
        self.refuse_logs = False
        self.welcome = {"heartbeat_interval_s": 0.2, "log_chunk_bytes": 4096, "log_window_bytes": 16384}
        self.info = ApiInfo(version="0", protocol_min=2, protocol_max=2)
        self.execution = web.Response(body=b"{}", headers={"Content-Type": "application/json"})
        """Answer to calls of tasks."""
        self.execution_calls: list[tuple[str, dict[str, str], bytes]] = []
        """Calls of tasks: path as on the wire, headers, body."""
        self._out: asyncio.Queue[str] = asyncio.Queue()
        self._pending: list[Job] = []
        self._connections: set[asyncio.Transport] = set()
        self._session: UUID | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """URL of this edge API; it stays the same over restarts."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start to listen, on the same port as before."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get(INFO_PATH, self._info)
        app.router.add_post(ENROLL_PATH, self._enroll)
        app.router.add_get(SESSION_PATH, self._websocket)
        app.router.add_post(SYNC_PATH, self._sync)
        app.router.add_route("*", EXECUTION_PATH + "/{path:.*}", self._execution)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Disappear like a killed process; `start` serves the same URL again."""
        await self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def cut(self) -> None:
        """Break all connections."""
        for connection in list(self._connections):
            connection.abort()
        self._session = None

    def send(self, frame: Frame) -> None:
        """Send a frame to the worker."""
        self._out.put_nowait(frame.model_dump_json())

    def offer(
        self, workload: str, *, slots: int = 1, lease_id: UUID | None = None, log_path: str | None = "a/b.log"
    ) -> UUID:
        """Offer a job, at once or as soon as a session begins; return its lease."""
        lease_id = lease_id or uuid4()
        job = Job(lease_id=lease_id, job_id=uuid4(), kind="task", slots=slots, log_path=log_path, workload=workload)
        if self._session is None:
            self._pending.append(job)
        else:
            self.send(job)
        return lease_id

    def seen(self, kind: type[F], lease_id: UUID | None = None) -> list[F]:
        """Return the frames of a kind (and of a lease) that have been received."""
        return [
            frame
            for frame in self.frames
            if isinstance(frame, kind) and lease_id in (None, getattr(frame, "lease_id", None))
        ]

    async def wait_for(self, kind: type[F], lease_id: UUID | None = None, *, count: int = 1) -> F:
        """Wait until `count` frames of a kind (and lease) have been received, and return the last of them."""
        what = f"{count} {kind.__name__} of {lease_id or 'any lease'}"
        await until(lambda: len(self.seen(kind, lease_id)) >= count, what)
        return self.seen(kind, lease_id)[count - 1]

    async def wait_log(self, lease_id: UUID, end: bytes) -> bytes:
        """Wait until the log of a lease has a text, and return the log."""
        await until(lambda: end in self.logs.get(lease_id, b""), f"log of {lease_id} with {end!r}")
        return bytes(self.logs[lease_id])

    def _on(self, text: str) -> None:
        frame = parse_agent_frame(text)
        assert frame is not None
        self.frames.append(frame)
        match frame:
            case Hello():
                self._session = uuid4()
                self.send(Welcome(protocol=2, session_id=self._session, **self.welcome))
                while self._pending:
                    self.send(self._pending.pop(0))
            case Accept() if self.ack_accepts:
                self.send(Ack(of="accept", lease_id=frame.lease_id))
            case Report() if self.ack_reports:
                self.send(Ack(of="report", lease_id=frame.lease_id))
            case Log():
                self._on_log(frame)

    def _on_log(self, frame: Log) -> None:
        if self.refuse_logs:
            self.send(Fenced(of="log", lease_id=frame.lease_id, reason="the log is unknown here"))
            return
        log = self.logs.setdefault(frame.lease_id, bytearray())
        if len(log) - frame.skipped <= frame.offset - frame.skipped <= len(log):
            self.skipped[frame.lease_id] = self.skipped.get(frame.lease_id, 0) + frame.offset - len(log)
            log += b"\0" * (frame.offset - len(log)) + frame.data
        elif frame.offset < len(log):
            log += frame.data[len(log) - frame.offset :]
        if self.ack_logs:
            self.send(Ack(of="log", lease_id=frame.lease_id, offset=len(log)))

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self.credential}":
            return None
        return self.problem(
            Problem(title="no", status=401, detail="the credential is revoked", code="credential_revoked")
        )

    @staticmethod
    def problem(problem: Problem) -> web.Response:
        """Return an error answer as the edge API writes it."""
        return web.Response(
            status=problem.status, text=problem.model_dump_json(), content_type="application/problem+json"
        )

    async def _info(self, _request: web.Request) -> web.Response:
        if self.info_problem is not None:
            return self.problem(self.info_problem)
        return web.Response(text=self.info.model_dump_json(), content_type="application/json")

    async def _enroll(self, request: web.Request) -> web.Response:
        asked = EnrollRequest.model_validate_json(await request.read())
        if self.enroll_redirect is not None:
            raise web.HTTPTemporaryRedirect(self.enroll_redirect)
        if self.join_problem is not None:
            return self.problem(self.join_problem)
        if asked.join_token != self.join_token:
            return self.problem(
                Problem(title="no", status=401, detail="the join token is not known", code="join_token")
            )
        answer = EnrollResponse(
            worker=asked.worker,
            credential=self.credential,
            credential_id=uuid4(),
            expires_at=datetime.now(UTC) + timedelta(days=30),
            team=None,
            queues=asked.queues,
        )
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_websocket is not None:
            return web.Response(status=self.refuse_websocket, text="<html>proxy</html>", content_type="text/html")
        if (refusal := self._refusal(request)) is not None:
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = request.transport
        assert connection is not None
        if self.break_websocket:
            connection.abort()
            return socket
        self.transports.append("websocket")
        self._connections.add(connection)
        self._out = asyncio.Queue()
        pump = asyncio.create_task(self._pump(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._on(message.data)
                    if isinstance(self.frames[-1], Bye):
                        break
        finally:
            self._connections.discard(connection)
            pump.cancel()
        return socket

    async def _pump(self, socket: web.WebSocketResponse) -> None:
        out = self._out
        with suppress(ConnectionError):
            while True:
                await socket.send_str(await out.get())

    async def _execution(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        self.execution_calls.append((request.raw_path, dict(request.headers), await request.read()))
        found = self.execution
        return web.Response(status=found.status, body=found.body, headers=found.headers)

    async def _sync(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        asked = SyncRequest.model_validate_json(await request.read())
        if asked.session_id is None:
            self.transports.append("sync")
            self._out = asyncio.Queue()
        elif asked.session_id != self._session:
            return self.problem(Problem(title="no", status=404, detail="the session is over", code="session_unknown"))
        for text in asked.frames:
            self._on(text)
        out: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(asked.wait_s):
                if asked.wait_s:
                    out.append(await self._out.get())
        while not self._out.empty():
            out.append(self._out.get_nowait())
        return web.Response(text=SyncResponse(frames=out).model_dump_json(), content_type="application/json")
