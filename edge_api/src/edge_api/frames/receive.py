"""The frames of a worker within a session.

Nothing here waits for the database on the common path: accepts, reports and logs go to batchers, and their results come
back as callbacks that put the answers into the outbox.
"""

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from edge_api.frames.heartbeat import clean_sysinfo, clean_text
from edge_api.frames.hello import say_bye, say_hello
from edge_api.frames.log import LogResult
from edge_api.frames.maintenance import take_maintenance
from edge_api.sessions.session import Session
from edge_api.sessions.writers import Loss
from edge_protocol.frames import (
    Accept,
    Ack,
    AgentFrame,
    Bye,
    Fenced,
    FrameError,
    Heartbeat,
    Hello,
    Log,
    Maintenance,
    Report,
    parse_agent_frame,
)
from edge_store.jobs import leases, logs
from edge_store.workers import agents

EXIT_CODES: Final = range(-(2**31), 2**31)
OFFSETS: Final = range(2**62)

log = logging.getLogger(__name__)


async def receive(session: Session, data: str | bytes) -> None:
    """Handle one frame of the worker, whatever it is."""
    if session.ending is not None:
        return
    session.last_heard = time.monotonic()
    try:
        frame = parse_agent_frame(data)
    except FrameError as error:
        session.complain(str(error))
        return
    if frame is None:  # a type of a newer protocol
        return
    if isinstance(frame, Hello):
        await say_hello(session, frame)
    elif not session.opened:
        session.end("hello_first", "The first frame of a session must be a hello.", fatal=True)
    elif isinstance(frame, Bye):
        await say_bye(session)
    elif isinstance(frame, Maintenance):
        await take_maintenance(session, frame)
    else:
        _handle(session, frame)


def _handle(session: Session, frame: AgentFrame) -> None:
    match frame:
        case Heartbeat():
            on_heartbeat(session, frame)
        case Accept():
            on_accept(session, frame)
        case Report():
            on_report(session, frame)
        case Log():
            on_log(session, frame)


def on_heartbeat(session: Session, frame: Heartbeat) -> None:
    """Note the sign of life, and look for leases on which the two sides differ."""
    session.hub.heartbeats.put(
        agents.Beat(
            name=session.worker,
            session_id=session.id,
            jobs_active=frame.jobs_active,
            free_slots=frame.free_slots,
            maintenance_acknowledged=frame.maintenance_acknowledged,
            terminating=frame.terminating,
            initialised=frame.initialised,
            worked=session.worked,
            sysinfo=clean_sysinfo(frame.sysinfo),
        )
    )
    session.worked = False
    if session.principal.expired:
        session.end_expired()
        return
    session.withdraw(withdrawn=frame.terminating or frame.maintenance_acknowledged or not frame.initialised)
    if frame.desired_version < session.wishes.version:
        session.send_wishes()
    _compare(session, frame.held)


def _compare(session: Session, held: Sequence[UUID]) -> None:
    found = session.leases.compare(held, time.monotonic())
    if found.unknown or found.overdue:
        session.check([*found.unknown, *found.overdue])
    for lease in found.gone:
        log.warning("a task is gone without a report", extra={"worker": session.worker, "lease": lease})
        session.leases.reporting(lease, begun=True)
        loss = Loss(lease, f"edge worker {session.worker} has the task no more and sent no report")
        session.track(session.hub.losses.submit(loss), partial(_lost, session, lease))


def _lost(session: Session, lease: UUID, _: None) -> None:
    session.settle(lease)


def on_accept(session: Session, frame: Accept) -> None:
    """Move the job to running, then acknowledge: the worker starts its task after that."""
    held = leases.HeldLease(frame.lease_id, session.worker)
    session.track(session.hub.accepts.submit(held), partial(_accepted, session, frame.lease_id))


def _accepted(session: Session, lease: UUID, good: bool) -> None:
    if not good:
        session.fence(lease, "accept")
        return
    if session.leases.get(lease) is None:
        session.check([lease])
    session.leases.accepted(lease)
    session.send(Ack(of="accept", lease_id=lease))


def on_report(session: Session, frame: Report) -> None:
    """Finish the job, then acknowledge."""
    if frame.exit_code is not None and frame.exit_code not in EXIT_CODES:
        session.complain("report.exit_code: Input should be a 32-bit integer")
        return
    report = leases.JobReport(
        lease_id=frame.lease_id,
        worker=session.worker,
        outcome=frame.outcome,
        exit_code=frame.exit_code,
        error=None if frame.error is None else clean_text(frame.error),
    )
    session.leases.reporting(frame.lease_id, begun=True)
    session.track(session.hub.reports.submit(report), partial(_reported, session, frame.lease_id))


def _reported(session: Session, lease: UUID, good: bool) -> None:
    if not good:
        session.fence(lease, "report")
        return
    session.send(Ack(of="report", lease_id=lease))
    session.settle(lease)


def on_log(session: Session, frame: Log) -> None:
    """Append to the task's log, then say where it ends."""
    if frame.offset not in OFFSETS or frame.skipped not in OFFSETS:
        session.complain("log.offset: Input should be less than 2^62")
        return
    chunk = logs.LogChunk(frame.lease_id, session.worker, frame.offset, frame.skipped, frame.data)
    session.track(session.hub.logs.submit(chunk), partial(_logged, session, frame.lease_id), len(frame.data))


def _logged(session: Session, lease: UUID, result: LogResult) -> None:
    if result.end is None:
        session.hub.metrics.fenced.labels("log").inc()
        session.send(Fenced(lease_id=lease, reason="The log is not known here, or is another worker's. Drop it."))
    elif not result.superseded:
        session.send(Ack(of="log", lease_id=lease, offset=result.end))
