"""The beginning and the end of a session: hello and bye.

A hello takes over the worker's row and then settles every unfinished lease of the worker at once: kept if the worker
still has it, sent again if it never got it, lost if it was running and is gone.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.fleet.desired import Wishes, effective_concurrency, effective_queues
from edge_api.frames import maintenance as own_maintenance
from edge_api.frames.heartbeat import clean_text
from edge_api.sessions.desired import store_effective
from edge_api.sessions.lease_view import Phase
from edge_api.sessions.session import Ending, Session
from edge_protocol.frames import BY_HOST, PROTOCOL_MAX, PROTOCOL_MIN, Error, Hello, Welcome, choose_protocol
from edge_store.jobs import leases
from edge_store.workers import agents

BYE_PATIENCE_S: Final = 10.0
"""Reports sent before a bye are durable long before that."""

log = logging.getLogger(__name__)


async def say_hello(session: Session, hello: Hello) -> None:
    """Begin the session, or end it with the reason."""
    refusal = _refusal(session, hello)
    if refusal is not None:
        if refusal.code == "wrong_worker":
            session.hub.refusals.note(f"worker:{session.worker}", refusal.code, None, f"hello of {hello.worker}")
        session.end(refusal.code, refusal.message, fatal=True)
        return
    try:
        await _open(session, hello)
    except DatabaseAwayError as error:
        log.warning("a hello failed: %s", error, extra={"worker": session.worker})
        session.end("database_away", "The database is away. Connect again.", close_code=1013)
    except DatabaseRefusedError:
        log.exception("the database refuses a hello", extra={"worker": session.worker})
        session.end("bad_hello", "The database refuses the content of the hello.", fatal=True)


def _refusal(session: Session, hello: Hello) -> Error | None:
    """Return why a hello can't be taken, from what is known without the database."""
    if session.opened:
        return Error(code="hello_twice", message="A session has one hello. Connect anew.")
    if hello.worker != session.worker:
        return Error(
            code="wrong_worker",
            message=f"The credential is that of worker {session.worker}. Run with that name, or enrol this one.",
        )
    if choose_protocol(hello.protocol_min, hello.protocol_max) is None:
        old, new = ("worker", "edge API") if hello.protocol_max < PROTOCOL_MIN else ("edge API", "worker")
        return Error(
            code="protocol_mismatch",
            message=f"The worker speaks protocols {hello.protocol_min} to {hello.protocol_max}, the edge API "
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}. Upgrade the {old}: it is older than the {new}.",
        )
    return None


async def _open(session: Session, hello: Hello) -> None:
    session.hello = hello
    session.withdrawn = not hello.initialised
    wishes = await _read_wishes(session)
    session.queues = effective_queues(hello.queues, session.principal.queues, wishes)
    session.leases.concurrency = effective_concurrency(hello.concurrency, wishes)
    session.cordon_reason = session.hub.versions.reason(hello.versions.model_dump(), PROTOCOL_MAX)
    if not await _register(session, hello):
        return
    if hello.maintenance:
        await own_maintenance.enter(session, hello.maintenance_comment, BY_HOST, own_only=True)
    # From here on hints reach the session, so a change of the wishes after this look is not missed.
    session.hub.registry.add(session)
    session.wishes = wishes
    if session.take_wishes(await _read_wishes(session)):
        await store_effective(session.hub.database, session)
    rows = await session.hub.database.rows(leases.held_by(session.worker), "held_by")
    settings = session.hub.settings
    session.send(
        Welcome(
            protocol=PROTOCOL_MAX,
            session_id=session.id,
            heartbeat_interval_s=settings.heartbeat_interval_s,
            log_chunk_bytes=settings.log_chunk_bytes,
            log_window_bytes=settings.log_window_bytes,
            execution_api_url=settings.execution_api_url,
        )
    )
    session.send_wishes()
    await _settle_leases(session, hello.held, rows)
    session.opened = True
    log.info("session begins", extra={"worker": session.worker, "session": session.id, "transport": session.transport})
    session.hub.dispatcher.wake()


async def _read_wishes(session: Session) -> Wishes:
    rows = await session.hub.database.rows(agents.desired_of([session.worker]), "desired")
    return Wishes.of_row(rows[0]) if rows else Wishes()


async def _register(session: Session, hello: Hello) -> bool:
    new = agents.Registration(
        name=session.worker,
        identity=session.principal.identity,
        team=session.principal.team,
        queues=sorted(session.queues),
        concurrency=session.leases.concurrency,
        session_id=session.id,
        instance=hello.instance,
        cordon_reason=session.cordon_reason,
        credential_id=session.principal.credential_id,
        versions={
            name: clean_text(value) for name, value in hello.versions.model_dump().items() if isinstance(value, str)
        },
    )
    window = session.hub.settings.silence_window
    if await session.hub.database.rows(agents.register(new, window), "register"):
        return True
    session.hub.refusals.note(f"worker:{session.worker}", "name_taken", None, "hello")
    session.end(
        "name_taken",
        f"A live worker of another enrolment has the name {session.worker}. Stop that worker, or enrol this one under "
        "another name.",
        fatal=True,
    )
    return False


async def _settle_leases(session: Session, told: Sequence[UUID], rows: Sequence[Row[Any]]) -> None:
    """Agree with the worker on every unfinished lease."""
    now = time.monotonic()
    held = set(told)
    stored = {row.lease_id for row in rows}
    lost = [row.lease_id for row in rows if row.state == "running" and row.lease_id not in held]
    if lost:
        reason = f"edge worker {session.worker} restarted without the task"
        done = await session.hub.database.rows(leases.lose(lost, reason), "lose")
        session.hub.metrics.jobs_finished.labels("lost").inc(len(done))
    for lease in told:
        if lease not in stored:
            session.fence(lease, "hello")
    for row in rows:
        if row.state == "running" and row.lease_id in held:
            session.leases.add(row.lease_id, row.slots, Phase.RUNNING, now)
        elif row.state == "leased":
            session.leases.add(row.lease_id, row.slots, Phase.OFFERED, now)
            if row.lease_id not in held:
                session.send_job(row)


async def say_bye(session: Session) -> None:
    """Note a clean stop. What the worker still held is settled now, since nobody else would."""
    database = session.hub.database
    try:
        async with asyncio.timeout(BYE_PATIENCE_S):
            await session.all_settled()
        standing = await database.rows(agents.standing([session.worker]), "standing")
        if not standing or standing[0].session_id != session.id:
            session.supersede()
            return
        rows = await database.rows(leases.held_by(session.worker), "held_by")
        running = [row.lease_id for row in rows if row.state == "running"]
        leased = [row.lease_id for row in rows if row.state == "leased"]
        if running:
            reason = f"edge worker {session.worker} stopped without a report"
            await database.rows(leases.lose(running, reason), "lose")
        if leased:
            await database.rows(leases.release(leased), "release")
        await database.rows(agents.say_bye(session.worker, session.id), "bye")
    except (DatabaseAwayError, TimeoutError) as error:
        log.warning("a bye was not written: %s", error, extra={"worker": session.worker})
    log.info("session ends", extra={"worker": session.worker, "session": session.id, "code": "bye"})
    session.detach(Ending("bye", 1000))
