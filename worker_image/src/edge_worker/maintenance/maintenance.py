"""Maintenance of this worker: desired by the platform, or requested by this host or its health check.

The desired row in the store is the truth. A request made here takes effect on this worker at once, so that it takes no
more jobs even while the edge API is away. It is sent in each session until the edge API confirms that it is stored:

    request here --> counts at once --> written to maintenance.json (host only) --> sent --> `maintained` --> forgotten
"""

import asyncio
import logging
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import ValidationError

from edge_protocol.frames import BY_HEALTH, BY_HOST, DesiredFrame, Maintained, Maintenance, ServerFrame, Welcome
from edge_protocol.limits import COMMENT_MAX
from edge_worker.connection.reconnect import Connection
from edge_worker.errors import StateFolderError
from edge_worker.host.files import read_json, write_json
from edge_worker.maintenance.drain import GracefulStop
from edge_worker.maintenance.host_health import HostHealth
from edge_worker.tasks.leases import Leases

log = logging.getLogger(__name__)

Source = Literal["host", "health"]

_HEALTH_S = 10.0
"""Seconds between health checks while no session sets the heartbeat interval."""


class MaintenanceState:
    """The desired maintenance and the requests of this side that are not confirmed yet: pure decisions, no I/O."""

    def __init__(self) -> None:
        self.desired: DesiredFrame | None = None
        self._pending: dict[Source, Maintenance] = {}

    @property
    def host_request(self) -> Maintenance | None:
        """The unconfirmed request of the host; kept over restarts."""
        return self._pending.get("host")

    @property
    def pending(self) -> Maintenance | None:
        """The unconfirmed request that counts, if there is one."""
        return self._pending.get("host") or self._pending.get("health")

    @property
    def unconfirmed(self) -> list[Maintenance]:
        """All unconfirmed requests, the host's first."""
        return sorted(self._pending.values(), key=lambda request: request.source != "host")

    @property
    def acknowledged(self) -> bool:
        """Whether the platform desires maintenance and this worker knows it."""
        return self.desired is not None and self.desired.maintenance

    @property
    def cordoned(self) -> bool:
        """Whether this worker takes no jobs because of maintenance."""
        return self.acknowledged or any(request.on for request in self._pending.values())

    @property
    def on(self) -> bool:
        """Whether maintenance is on, according to the latest request."""
        return self.acknowledged if self.pending is None else self.pending.on

    @property
    def comment(self) -> str | None:
        """The reason for the maintenance."""
        if self.pending is not None:
            return self.pending.comment
        return self.desired.maintenance_comment if self.desired is not None else None

    @property
    def by(self) -> str | None:
        """Who requested the maintenance."""
        if not self.on:
            return None
        if self.pending is not None:
            return BY_HOST if self.pending.source == "host" else BY_HEALTH
        return self.desired.maintenance_by if self.desired is not None else None

    def restore(self, request: Maintenance) -> None:
        """Take over a request that was not confirmed before the last restart."""
        self._pending[request.source] = request

    def request(self, *, on: bool, comment: str | None, source: Source = "host") -> Maintenance:
        """Request to enter or to leave maintenance; return the frame to send."""
        if source == "host":
            # The host's request is newer and takes precedence; a health check that disagrees repeats its own.
            self._pending.pop("health", None)
        frame = Maintenance(id=uuid4(), on=on, comment=comment, source=source)
        self._pending[source] = frame
        return frame

    def on_confirmed(self, frame_id: object) -> Maintenance | None:
        """Forget and return the request with an id; None if a later request has replaced it."""
        found = next((request for request in self._pending.values() if request.id == frame_id), None)
        if found is not None:
            del self._pending[found.source]
        return found

    def on_health(self, reason: str | None) -> Maintenance | None:
        """Follow the result of a health check (None: healthy); return the request to send, if there is one.

        A health check ends only a maintenance that a health check has started, also before the last restart.
        """
        if "host" in self._pending:
            return None
        if reason is not None:
            reason = reason[:COMMENT_MAX]
            if self.on and (self.by != BY_HEALTH or self.comment == reason):
                return None
            return self.request(on=True, comment=reason, source="health")
        if self.by != BY_HEALTH:
            return None
        return self.request(on=False, comment=None, source="health")


class MaintenanceControl:
    """Carries maintenance out: cordons the leases, sends requests, keeps the host's request over restarts."""

    def __init__(
        self,
        file: Path,
        health: HostHealth,
        leases: Leases,
        connection: Connection,
        stop: GracefulStop,
        group: asyncio.TaskGroup,
    ) -> None:
        self.state = MaintenanceState()
        self.unhealthy: str | None = None
        """Why the last health check failed; None: it passed."""
        self._file = file
        self._health = health
        self._leases = leases
        self._connection = connection
        self._stop = stop
        self._group = group
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Take over a request of the host that was not confirmed before the last restart."""
        content = await asyncio.to_thread(read_json, self._file)
        if content is None:
            return
        try:
            self.state.restore(Maintenance.model_validate(content))
        except ValidationError:
            log.warning("%s cannot be read and is ignored", self._file)
            return
        log.info("maintenance %s was requested before the restart", "on" if self.state.on else "off")
        self._apply()

    async def request(self, *, on: bool, comment: str | None) -> None:
        """Request maintenance, or its end, on behalf of the host; it takes effect at once and is durable on return.

        Raises:
            StateFolderError: it has taken effect, but would not survive a restart before the edge API has stored it.

        """
        frame = self.state.request(on=on, comment=comment)
        self._connection.send(frame)
        self._apply()
        try:
            await self._save()
        except StateFolderError as error:
            raise StateFolderError(
                f"{error}: the request is in effect, but a restart of the worker could forget it. "
                "Free disk space or make the folder writable, and repeat the command"
            ) from error

    async def watch_health(self) -> None:
        """Check the host once per heartbeat interval and follow the result, until cancelled."""
        while True:
            reason = await self._health.run()
            if reason != self.unhealthy:
                log.warning("health check: %s", reason) if reason else log.info("health check: healthy again")
            self.unhealthy = reason
            if (frame := self.state.on_health(reason)) is not None:
                self._connection.send(frame)
                self._apply()
            welcome = self._connection.welcome
            await self._health.wait(welcome.heartbeat_interval_s if welcome is not None else _HEALTH_S)

    def on_welcome(self, _welcome: Welcome) -> list[Maintenance]:
        """Return the unconfirmed requests."""
        return self.state.unconfirmed

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on `desired` and `maintained`."""
        match frame:
            case DesiredFrame():
                self._on_desired(frame)
            case Maintained():
                confirmed = self.state.on_confirmed(frame.id)
                self._apply()
                if confirmed is not None and confirmed.source == "host":
                    self._group.create_task(self._forget(), name="forget maintenance request")

    def on_disconnect(self) -> None:
        """Do nothing: maintenance holds without a session, too."""

    def _on_desired(self, desired: DesiredFrame) -> None:
        known = self.state.desired
        if known is not None and desired.version < known.version:
            # A newer frame came before this one.
            return
        if desired != known:
            log.info("desired: %s", desired.model_dump_json(exclude={"type"}))
        self.state.desired = desired
        self._leases.concurrency = desired.concurrency
        self._apply()
        if desired.shutdown and not self._stop.requested:
            self._stop.request("requested by the platform")

    def _apply(self) -> None:
        """Start or stop taking jobs, and report that at once."""
        self._leases.cordoned = self.state.cordoned
        self._connection.beat_now()

    async def _save(self) -> None:
        """Write the host's request, or delete it once it is confirmed."""
        async with self._saving:
            request = self.state.host_request
            try:
                if request is None:
                    await asyncio.to_thread(self._file.unlink, missing_ok=True)
                else:
                    await asyncio.to_thread(write_json, self._file, request.model_dump(mode="json"), durable=True)
            except OSError as error:
                raise StateFolderError(f"{self._file} cannot be written ({error.strerror})") from error

    async def _forget(self) -> None:
        try:
            await self._save()
        except StateFolderError as error:
            # The next start sends the request again, and it is confirmed again.
            log.warning("%s", error)
