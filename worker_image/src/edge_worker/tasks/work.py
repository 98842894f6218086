"""A task's story on this worker, top-down: offered, accepted, started, ended, reported, released.

- job → accept: `on_frame`; `Leases` decides.
- ack(accept) → start: `_start` creates the folder in the spool, follows the log and sends an order to a runner process.
- The supervisor process exits → end: `_end` concludes the outcome and sends the report.
- ack(report), and the log is delivered: `_release` forgets the lease and deletes the folder.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from edge_protocol.frames import Accept, Ack, Cancel, Fenced, Job, Report, ServerFrame, Welcome
from edge_worker.connection.reconnect import Connection
from edge_worker.errors import RunnerBrokenError
from edge_worker.logs.shipper import LogShipper
from edge_worker.relay.relay import Relay
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.contact import Contact, Tolerance, boot_clock
from edge_worker.tasks.leases import Effect, Kill, Lease, Leases, Phase, Release, Send, Start
from edge_worker.tasks.outcome import Outcome, TaskExit, conclude
from edge_worker.tasks.runners import RunnerPool, StartOrder
from edge_worker.tasks.spool import Spool

log = logging.getLogger(__name__)

LOG_POLL_S = 0.2
"""Seconds between looks at the logs of running tasks."""


class Work:
    """Carries out the effects that `Leases` returns."""

    def __init__(
        self,
        settings: WorkerSettings,
        spool: Spool,
        leases: Leases,
        runners: RunnerPool,
        connection: Connection,
        relay: Relay,
        contact: Contact,
        group: asyncio.TaskGroup,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self.shipper = LogShipper(settings.spool_max_bytes)
        self.initialised = False
        """Tasks can be started. Until then the platform sees a starting worker and gives it no jobs."""
        self.changed = asyncio.Event()
        """Set when a lease or the connection has changed: a stop may go on."""
        self._settings = settings
        self._relay = relay
        self._forwarded = False
        self._spool = spool
        self._leases = leases
        self._runners = runners
        self._connection = connection
        self._contact = contact
        self._group = group
        self._clock = clock
        self._log_watch = asyncio.Event()
        runners.listen(self._on_exit)

    async def initialise(self) -> None:
        """Wait until tasks can be started, and report that."""
        await self._runners.prepare()
        self.initialised = True
        self._connection.beat_now()

    async def recover(self) -> None:
        """Take over the leases of a former agent: their tasks have ended, reports and logs may be due."""
        for job, folder in await asyncio.to_thread(self._spool.recover):
            log_file = folder.log_file(job.log_path)
            outcome = await asyncio.to_thread(conclude, folder.root, log_file, None, None)
            self._leases.restore(job, outcome)
            self.shipper.add(job.lease_id, log_file, folder.log_progress)
            await self.shipper.end(job.lease_id)
            log.info("left by a former agent: lease %s, %s", job.lease_id, outcome.outcome)
        self._log_watch.set()

    def on_welcome(self, welcome: Welcome) -> list[Accept | Report]:
        """Return the accepts and reports that are not acknowledged."""
        self._forwarded = welcome.execution_forwarded
        self._relay.line_is_back()
        return [effect.frame for effect in self._leases.on_session()]

    def on_frame(self, frame: ServerFrame) -> None:
        """Act on a frame about a lease."""
        match frame:
            case Job():
                self._carry_out(self._leases.on_job(frame))
            case Ack(of="accept"):
                self._carry_out(self._leases.on_accept_ack(frame.lease_id))
            case Ack(of="report"):
                self._carry_out(self._leases.on_report_ack(frame.lease_id))
            case Ack(of="log"):
                if frame.offset is not None:
                    self.shipper.on_ack(frame.lease_id, frame.offset)
                self._carry_out(self._leases.on_log_ack(frame.lease_id))
            case Fenced(of="log"):
                self.shipper.on_refused(frame.lease_id, frame.reason)
                self._carry_out(self._leases.on_log_ack(frame.lease_id))
            case Fenced():
                self._carry_out(self._leases.on_fenced(frame.lease_id, frame.reason))
            case Cancel():
                self._carry_out(self._leases.on_cancel(frame.lease_id, frame.reason))

    def on_disconnect(self) -> None:
        """Forget which log pieces were in flight."""
        self.shipper.on_disconnect()
        self.changed.set()

    def end_all(self, reason: str) -> None:
        """End all running tasks."""
        for lease in self._leases.in_phase(Phase.RUNNING):
            self.end(lease, reason)

    def end(self, lease: Lease, reason: str, grace_s: float | None = None) -> None:
        """End a running task for a reason that goes into its report, unless it is being ended already."""
        self._carry_out(self._leases.kill(lease, reason, grace_s))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame):
                    self._send(frame)
                case Start(lease, workload):
                    self._group.create_task(self._start(lease, workload), name=f"start {lease.id}")
                case Kill(lease, grace_s):
                    log.info("ending task of lease %s: %s", lease.id, lease.kill_reason)
                    grace_s = self._settings.kill_grace_s if grace_s is None else grace_s
                    lease.dead_by = self._clock() + grace_s
                    self._runners.kill(lease.id, grace_s)
                    self._relay.hold_no_more(lease.id)
                case Release(lease):
                    self._release(lease)

    def _send(self, frame: Accept | Report) -> None:
        lease = self._leases.get(frame.lease_id)
        if isinstance(frame, Accept) and lease is not None and lease.outage_tolerance_s and lease.tolerance is None:
            lease.tolerance = Tolerance(self._clock(), lease.outage_tolerance_s, self._settings.kill_grace_s)
            # So that an acknowledgement follows soon.
            self._connection.beat_now()
        self._connection.send(frame)

    async def _start(self, lease: Lease, workload: str) -> None:
        folder = self._spool.folder(lease.id)
        log_file = folder.log_file(lease.job.log_path)
        try:
            await asyncio.to_thread(folder.create, lease.job)
            self.shipper.add(lease.id, log_file, folder.log_progress)
            self._log_watch.set()
            server = await self._execution_api(lease)
            if lease.kill_reason is not None:
                # Fenced, cancelled or out of contact in the meantime.
                await self._end(lease, TaskExit(lease.id, None))
                return
            order = StartOrder(lease.id, folder.root, workload, log_file, server, lease.tolerance)
            await self._runners.start(order)
            log.info("started %s %s, lease %s", lease.job.kind, lease.job.job_id, lease.id)
        except (OSError, RunnerBrokenError) as error:
            log.exception("task of lease %s could not be started", lease.id)
            reason = f"the task could not be started: {error}"
            await self._end(lease, TaskExit(lease.id, None, reason, started=False))

    async def _execution_api(self, lease: Lease) -> str | None:
        """Return the URL at which a task finds Airflow; None: Airflow's own setting on this host has it."""
        if self._settings.execution_api_url is not None:
            return self._settings.execution_api_url
        if not self._forwarded:
            return None
        tolerance = lease.tolerance
        if tolerance is None:
            return await self._relay.open(lease.id)
        return await self._relay.open(lease.id, lambda: self._contact.deadline(tolerance) - self._clock())

    def _on_exit(self, task_exit: TaskExit) -> None:
        lease = self._leases.get(task_exit.lease_id)
        if lease is not None and lease.phase is Phase.RUNNING:
            if task_exit.killed:
                lease.kill_reason = lease.kill_reason or task_exit.detail
            self._group.create_task(self._end(lease, task_exit), name=f"end {lease.id}")

    async def _end(self, lease: Lease, task_exit: TaskExit) -> None:
        """Conclude durably how a task ended, report it, and learn which modules it imported."""
        if not task_exit.started and lease.kill_reason is None:
            # Before anything is written to what may be a full disk: from here on no job is taken.
            self._leases.starts.not_started(task_exit.detail or "a task could not be started", time.monotonic())
        self._relay.close(lease.id)
        outcome, modules = await asyncio.to_thread(self._conclude, lease, task_exit)
        self._note_start(lease, task_exit, outcome)
        log.info("ended %s %s, lease %s: %s", lease.job.kind, lease.job.job_id, lease.id, outcome.outcome)
        self._carry_out(self._leases.on_ended(lease, outcome))
        await self.shipper.end(lease.id)
        self._release(lease)
        self.changed.set()
        self._connection.wake()
        self._runners.learn(modules)

    def _note_start(self, lease: Lease, task_exit: TaskExit, outcome: Outcome) -> None:
        if lease.kill_reason is not None or not task_exit.started:
            return
        if outcome.exit_code is None:
            self._leases.starts.not_run(outcome.error or outcome.outcome, time.monotonic())
        else:
            self._leases.starts.ran()

    def _conclude(self, lease: Lease, task_exit: TaskExit) -> tuple[Outcome, set[str]]:
        folder = self._spool.folder(lease.id)
        log_file = folder.log_file(lease.job.log_path)
        return conclude(folder.root, log_file, task_exit, lease.kill_reason), folder.read_modules()

    def _release(self, lease: Lease) -> None:
        """Forget a lease of which nothing is left to deliver, and delete its folder."""
        if lease.phase is Phase.DECIDED and self.shipper.delivered(lease.id):
            self.shipper.discard(lease.id)
            self._leases.forget(lease)
            self.changed.set()
            folder = self._spool.folder(lease.id)
            self._group.create_task(asyncio.to_thread(folder.remove), name=f"remove folder of {lease.id}")

    async def watch_logs(self) -> None:
        """Read what running tasks have written, until cancelled."""
        while True:
            if not self.shipper.active:
                self._log_watch.clear()
                await self._log_watch.wait()
            if await self.shipper.poll():
                self._connection.wake()
            # Logs that were given up get no acknowledgement.
            for lease in self._leases.in_phase(Phase.DECIDED):
                self._release(lease)
            await asyncio.sleep(LOG_POLL_S)
