"""Every frame of a worker comes in here and goes to the handler of its type.

Nothing on the common path waits for the database: accepts, reports and logs go to batchers, and their results come back
as callbacks that put the answers into the outbox.
"""

import time

from edge_api.frames.accept import AcceptHandler
from edge_api.frames.bye import ByeHandler
from edge_api.frames.heartbeat import HeartbeatHandler
from edge_api.frames.hello import HelloHandler
from edge_api.frames.log import LogHandler
from edge_api.frames.maintenance import MaintenanceHandler
from edge_api.frames.report import ReportHandler
from edge_api.sessions.session import Session
from edge_protocol.frames import (
    Accept,
    Bye,
    FrameError,
    Heartbeat,
    Hello,
    Log,
    Maintenance,
    Report,
    parse_agent_frame,
)


class Receiver:
    """Parses frames and passes them on."""

    def __init__(
        self,
        hello: HelloHandler,
        bye: ByeHandler,
        heartbeat: HeartbeatHandler,
        accept: AcceptHandler,
        report: ReportHandler,
        log: LogHandler,
        maintenance: MaintenanceHandler,
    ) -> None:
        self._hello = hello
        self._bye = bye
        self._heartbeat = heartbeat
        self._accept = accept
        self._report = report
        self._log = log
        self._maintenance = maintenance

    async def receive(self, session: Session, data: str | bytes) -> None:
        """Handle one frame of the worker, whatever it is."""
        if session.ending is not None:
            return
        session.last_heard = time.monotonic()
        try:
            frame = parse_agent_frame(data)
        except FrameError as error:
            session.complain(str(error))
            return
        if frame is not None and not isinstance(frame, Hello) and not session.opened:
            session.end("hello_first", "The first frame of a session must be a hello.", fatal=True)
            return
        match frame:
            case Hello():
                await self._hello.handle(session, frame)
            case Bye():
                await self._bye.handle(session)
            case Maintenance():
                await self._maintenance.handle(session, frame)
            case Heartbeat():
                self._heartbeat.handle(session, frame)
            case Accept():
                self._accept.handle(session, frame)
            case Report():
                self._report.handle(session, frame)
            case Log():
                self._log.handle(session, frame)
            case None:
                """A type of a newer protocol."""
