"""`hello`: the beginning of a session.

It takes over the worker's row and then decides every unfinished lease of the worker at once: kept if the worker still
has it, sent again if it never arrived, lost if it was running and its task is gone.
"""

import logging
import math
import time
from collections.abc import Sequence
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.database.storable import storable_text
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.fleet.desired import effective_concurrency, effective_queues
from edge_api.fleet.version_policy import VersionPolicy
from edge_api.frames.maintenance import MaintenanceHandler
from edge_api.identity.refusals import Refusals
from edge_api.metrics import Metrics
from edge_api.sessions.desired import DesiredUpdates
from edge_api.sessions.lease_view import Phase
from edge_api.sessions.registry import Registry
from edge_api.sessions.session import Session
from edge_api.settings import ApiSettings
from edge_protocol.frames import BY_HOST, PROTOCOL_MAX, PROTOCOL_MIN, Error, Hello, Welcome, choose_protocol
from edge_store.jobs import leases
from edge_store.workers import agents

log = logging.getLogger(__name__)


class HelloHandler:
    """Handles `hello` frames."""

    def __init__(
        self,
        database: Database,
        settings: ApiSettings,
        metrics: Metrics,
        registry: Registry,
        refusals: Refusals,
        versions: VersionPolicy,
        desired: DesiredUpdates,
        maintenance: MaintenanceHandler,
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._registry = registry
        self._refusals = refusals
        self._versions = versions
        self._desired = desired
        self._maintenance = maintenance

    async def handle(self, session: Session, hello: Hello) -> None:
        """Begin the session, or end it with the reason."""
        refusal = _refusal(session, hello, self._settings.tolerance_least.total_seconds())
        if refusal is not None:
            if refusal.code == "wrong_worker":
                self._refusals.note(f"worker:{session.worker}", refusal.code, None, f"hello of {hello.worker}")
            session.end(refusal.code, refusal.message, fatal=True)
            return
        try:
            await self._open(session, hello)
        except DatabaseAwayError as error:
            log.warning("a hello failed: %s", error, extra={"worker": session.worker})
            session.end("database_away", "The database is away. Connect again.", close_code=1013)
        except DatabaseRefusedError:
            log.exception("the database refuses a hello", extra={"worker": session.worker})
            session.end("bad_hello", "The database refuses the content of the hello.", fatal=True)

    async def _open(self, session: Session, hello: Hello) -> None:
        session.hello = hello
        session.withdrawn = not hello.initialised
        session.desired = await self._desired.read(session.worker)
        session.queues = effective_queues(hello.queues, session.principal.queues, session.desired)
        session.leases.concurrency = effective_concurrency(hello.concurrency, session.desired)
        session.cordon_reason = self._versions.reason(hello.versions.model_dump(), PROTOCOL_MAX)
        if not await self._register(session, hello):
            return
        if hello.maintenance:
            await self._maintenance.enter(session.worker, hello.maintenance_comment, BY_HOST, own_only=True)
        # From here on hints reach the session, so a change of the desired state after the next read is not missed.
        self._registry.add(session)
        await self._desired.apply(session, await self._desired.read(session.worker))
        held = await self._database.rows(leases.held_by(session.worker))
        session.send(
            Welcome(
                protocol=PROTOCOL_MAX,
                session_id=session.id,
                heartbeat_interval_s=self._settings.heartbeat_interval_s,
                log_chunk_bytes=self._settings.log_chunk_bytes,
                log_window_bytes=self._settings.log_window_bytes,
                execution_forwarded=self._settings.execution_api_url is not None,
            )
        )
        session.send_desired()
        await self._decide_leases(session, hello.held, held)
        session.opened = True
        log.info(
            "session begins", extra={"worker": session.worker, "session": session.id, "transport": session.transport}
        )
        session.room_freed()

    async def _register(self, session: Session, hello: Hello) -> bool:
        """Take over the worker's row; if a live worker of another enrolment has it, end the session."""
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
            outage_tolerance_s=hello.outage_tolerance_s,
            kill_grace_s=math.ceil(hello.kill_grace_s),
            versions={
                name: storable_text(value)
                for name, value in hello.versions.model_dump().items()
                if isinstance(value, str)
            },
        )
        if await self._database.rows(agents.register(new, self._settings.silence_window)):
            return True
        self._refusals.note(f"worker:{session.worker}", "name_taken", None, "hello")
        session.end(
            "name_taken",
            f"A live worker of another enrolment has the name {session.worker}, or one that is out of contact and "
            "whose tasks may still run. Stop that worker, or enrol this one under another name.",
            fatal=True,
        )
        return False

    async def _decide_leases(
        self, session: Session, reported: Sequence[UUID], stored: Sequence[leases.HeldJob]
    ) -> None:
        """Agree with the worker on every unfinished lease."""
        now = time.monotonic()
        held = set(reported)
        known = {row.lease_id for row in stored}
        lost = [row.lease_id for row in stored if row.state == "running" and row.lease_id not in held]
        if lost:
            reason = f"edge worker {session.worker} restarted without the task"
            losses = [leases.Loss(lease, session.id, reason) for lease in lost]
            done = await self._database.unlocked_rows(leases.lose(losses))
            self._metrics.jobs_finished.labels("lost").inc(len(done))
        for lease in reported:
            if lease not in known:
                session.fence(lease, "hello")
        for row in stored:
            if row.state == "running" and row.lease_id in held:
                session.leases.add(row.lease_id, row.slots, Phase.RUNNING, now)
            elif row.state == "leased":
                session.leases.add(row.lease_id, row.slots, Phase.OFFERED, now)
                if row.lease_id not in held:
                    session.send_job(row)


def _refusal(session: Session, hello: Hello, tolerance_least_s: float) -> Error | None:
    """Return why a hello can't be accepted, from what is known without the database."""
    if session.opened:
        return Error(code="hello_twice", message="A session has one hello. Connect again.")
    if hello.worker != session.worker:
        return Error(
            code="wrong_worker",
            message=f"The credential belongs to worker {session.worker}. Run with that name, or enrol this one.",
        )
    if choose_protocol(hello.protocol_min, hello.protocol_max) is None:
        old, new = ("worker", "edge API") if hello.protocol_max < PROTOCOL_MIN else ("edge API", "worker")
        return Error(
            code="protocol_mismatch",
            message=f"The worker speaks protocols {hello.protocol_min} to {hello.protocol_max}, the edge API "
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}. Upgrade the {old}: it is older than the {new}.",
        )
    least_s = tolerance_least_s + math.ceil(hello.kill_grace_s)
    if 0 < hello.outage_tolerance_s < least_s:
        return Error(
            code="bad_tolerance",
            message=f"An outage tolerance of {hello.outage_tolerance_s} s is too short: within it the worker must "
            "notice the silence and end its tasks. Set EDGE_WORKER_OUTAGE_TOLERANCE_S to 0, or to "
            f"{math.ceil(least_s)} or more.",
        )
    return None
