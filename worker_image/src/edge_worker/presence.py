"""The agent as commands on its host see it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_protocol.worker_state import Desired, Observed, WorkerState, worker_state
from edge_worker import __version__
from edge_worker.connection.credential import CredentialRotation
from edge_worker.connection.reconnect import Connection
from edge_worker.host.control.messages import JobStatus, WorkerStatus
from edge_worker.maintenance.drain import Drain
from edge_worker.maintenance.upkeep import Upkeep
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.leases import Leases, Phase


@dataclass(frozen=True)
class LocalControl:
    """Answers status, and passes wishes on."""

    settings: WorkerSettings
    leases: Leases
    drain: Drain
    upkeep: Upkeep
    connection: Connection
    rotation: CredentialRotation
    api_url: str
    stop: Callable[[str], None]
    initialised: Callable[[], bool]
    """Whether tasks can be started."""

    def status(self) -> WorkerStatus:
        """Return how the worker is."""
        own = self.upkeep.own
        held = self.leases.in_phase(Phase.OFFERED, Phase.RUNNING)
        return WorkerStatus(
            name=self.settings.name,
            state=self._state(),
            job_count=self.leases.active,
            maintenance=own.on,
            maintenance_comments=own.comment if own.on else None,
            drain=self.drain.asked,
            maintenance_by=own.by,
            maintenance_stored=own.wish is None,
            connected=self.connection.connected,
            transport=self.connection.transport_name,
            api_url=self.api_url,
            team=self.rotation.credential.team,
            queues=own.desired.queues if own.desired is not None else None,
            concurrency=self.leases.concurrency,
            free_slots=self.leases.free_slots,
            undelivered=len(self.leases) - len(held),
            health=self.upkeep.unhealthy,
            credential_expires_at=self.rotation.credential.expires_at,
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
                for lease in held
            ],
        )

    def _state(self) -> WorkerState:
        """Return the state by the same rules as the platform, with this side's own wishes counted in."""
        now = datetime.now(UTC)
        own = self.upkeep.own
        shutdown = own.desired is not None and own.desired.shutdown
        observed = Observed(
            last_heartbeat=now,
            initialised=self.initialised(),
            jobs_active=self.leases.active,
            maintenance_acknowledged=own.acknowledged,
            terminating=self.drain.asked,
        )
        return worker_state(Desired(maintenance=own.on, shutdown=shutdown), observed, now)

    async def ask_maintenance(self, *, on: bool, comment: str | None) -> None:
        """Wish to enter or to leave maintenance; durable on return."""
        await self.upkeep.ask(on=on, comment=comment)

    def ask_stop(self) -> None:
        """Drain and stop; a repeat changes nothing."""
        if not self.drain.asked:
            self.stop("asked for on this host")
