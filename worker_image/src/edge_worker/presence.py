"""How this worker presents itself: `hello` and heartbeats for the edge API, the status for commands on its host."""

import os
from datetime import UTC, datetime
from uuid import uuid4

from edge_protocol.frames import Heartbeat, Hello, Versions
from edge_protocol.worker_state import Desired, Observed, WorkerState, worker_state
from edge_worker import __version__
from edge_worker.connection.credential import CredentialRotation
from edge_worker.connection.reconnect import Connection
from edge_worker.host.control.messages import JobStatus, WorkerStatus
from edge_worker.host.system_info import SysInfo, SystemMonitor
from edge_worker.maintenance.drain import GracefulStop
from edge_worker.maintenance.maintenance import MaintenanceControl
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.fencing import Fencing
from edge_worker.tasks.leases import Leases, Phase
from edge_worker.tasks.work import Work


class Presence:
    """The worker as others see it, and the requests of commands on its host."""

    def __init__(
        self,
        settings: WorkerSettings,
        api_url: str,
        versions: Versions,
        *,
        leases: Leases,
        work: Work,
        fencing: Fencing,
        maintenance: MaintenanceControl,
        stop: GracefulStop,
        connection: Connection,
        rotation: CredentialRotation,
    ) -> None:
        self._settings = settings
        self._api_url = api_url
        self._versions = versions
        self._leases = leases
        self._work = work
        self._fencing = fencing
        self._maintenance = maintenance
        self._stop = stop
        self._connection = connection
        self._rotation = rotation
        self._instance = uuid4()
        self._system = SystemMonitor(settings.state_folder)

    def hello(self) -> Hello:
        """Return the first frame of a session."""
        self._fencing.saying_hello()
        request = self._maintenance.state.host_request
        return Hello(
            worker=self._settings.name,
            instance=self._instance,
            versions=self._versions,
            queues=self._settings.queues,
            concurrency=self._settings.concurrency,
            held=self._leases.held,
            initialised=self._work.initialised,
            # Also in the hello, so that no job comes before the request itself, which follows as a frame.
            maintenance=request is not None and request.on,
            maintenance_comment=request.comment if request is not None and request.on else None,
            outage_tolerance_s=self._settings.announced_tolerance_s,
            kill_grace_s=self._settings.kill_grace_s,
        )

    def heartbeat(self) -> Heartbeat:
        """Return a heartbeat."""
        maintenance = self._maintenance.state
        return Heartbeat(
            free_slots=self._leases.free_slots,
            jobs_active=self._leases.active,
            held=self._leases.held,
            desired_version=maintenance.desired.version if maintenance.desired is not None else 0,
            initialised=self._work.initialised,
            maintenance_acknowledged=maintenance.acknowledged,
            terminating=self._stop.requested,
            sysinfo=self._sysinfo(),
            mark=self._fencing.mark(),
        )

    def _sysinfo(self) -> SysInfo:
        site = self._settings.site
        return self._system.read() if site is None else {**self._system.read(), "site": site}

    def status(self) -> WorkerStatus:
        """Return the status for commands on this host."""
        maintenance, credential = self._maintenance.state, self._rotation.credential
        active = self._leases.in_phase(Phase.OFFERED, Phase.RUNNING)
        return WorkerStatus(
            name=self._settings.name,
            state=self._state(),
            job_count=len(active),
            maintenance=maintenance.on,
            maintenance_comments=maintenance.comment if maintenance.on else None,
            drain=self._stop.requested,
            maintenance_by=maintenance.by,
            maintenance_stored=maintenance.pending is None,
            connected=self._connection.welcome is not None,
            transport=self._connection.transport_name,
            api_url=self._api_url,
            team=credential.team,
            queues=maintenance.desired.queues if maintenance.desired is not None else None,
            concurrency=self._leases.concurrency,
            free_slots=self._leases.free_slots,
            undelivered=len(self._leases) - len(active),
            health=self._maintenance.unhealthy,
            credential_expires_at=credential.expires_at,
            pid=os.getpid(),
            version=__version__,
            jobs=[
                JobStatus(
                    job_id=lease.job.job_id,
                    lease_id=lease.id,
                    kind=lease.job.kind,
                    slots=lease.job.slots,
                    phase=lease.phase.name.lower(),
                    log_path=lease.job.log_path,
                )
                for lease in active
            ],
        )

    def _state(self) -> WorkerState:
        """Return the state by the same rules as the platform, with unconfirmed requests of this side applied."""
        now = datetime.now(UTC)
        maintenance = self._maintenance.state
        observed = Observed(
            last_heartbeat=now,
            initialised=self._work.initialised,
            jobs_active=self._leases.active,
            maintenance_acknowledged=maintenance.acknowledged,
            terminating=self._stop.requested,
        )
        shutdown = maintenance.desired is not None and maintenance.desired.shutdown
        return worker_state(Desired(maintenance=maintenance.on, shutdown=shutdown), observed, now)

    async def request_maintenance(self, *, on: bool, comment: str | None) -> None:
        """Request to enter or to leave maintenance; the request is durable on return."""
        await self._maintenance.request(on=on, comment=comment)

    def request_stop(self) -> None:
        """Drain and stop; a repeated request changes nothing."""
        if not self._stop.requested:
            self._stop.request("requested on this host")
