"""The tasks of the worker's leases: started, ended, settled, and forgotten once everything of them is delivered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from edge_worker.logs.shipper import LogShipper
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.launcher import Launcher, RunnerBrokenError, StartOrder, TaskExit
from edge_worker.tasks.leases import Action, Kill, Lease, Leases, Phase, Start, Tidy
from edge_worker.tasks.settle import settle, settle_left_over
from edge_worker.tasks.spool import Spool

log = logging.getLogger(__name__)

LOG_POLL_S = 0.2
"""Seconds between looks at the logs of running tasks."""


class Work:
    """Carries out what the leases decide.

    `spawn` starts a supervised task of the event loop; `wake` is set when there may be something to send, and `changed`
    when a lease has moved on.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        leases: Leases,
        launcher: Launcher,
        spawn: Callable[[Awaitable[object], str], None],
        *,
        wake: asyncio.Event,
        changed: asyncio.Event,
    ) -> None:
        self.shipper = LogShipper(settings.spool_max_bytes)
        self.execution_api_url = settings.execution_api_url
        """Airflow's Execution API for task processes; None: Airflow's own setting."""
        self._kill_grace_s = settings.kill_grace_s
        self._spool = Spool(settings.state_folder / "leases")
        self._leases = leases
        self._launcher = launcher
        self._spawn = spawn
        self._wake = wake
        self._changed = changed
        self._log_watch = asyncio.Event()
        launcher.listen(self._on_exit)

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Act."""
        for action in actions:
            match action:
                case Start(lease, workload):
                    self._spawn(self._start(lease, workload), f"start {lease.id}")
                case Kill(lease):
                    log.info("ending task of lease %s: %s", lease.id, lease.kill_reason)
                    self._launcher.kill(lease.id, self._kill_grace_s)
                case Tidy(lease, drop_log):
                    if drop_log:
                        log.warning("the edge API does not take the log of lease %s any more: dropped", lease.id)
                        self.shipper.discard(lease.id)
                    self._tidy(lease)
        self._wake.set()

    def _tidy(self, lease: Lease) -> None:
        if lease.phase is Phase.SETTLED and self.shipper.delivered(lease.id):
            self.shipper.discard(lease.id)
            self._leases.forget(lease)
            self._changed.set()
            self._spawn(asyncio.to_thread(self._spool.folder(lease.id).remove), f"tidy {lease.id}")

    async def _start(self, lease: Lease, workload: str) -> None:
        folder = self._spool.folder(lease.id)
        log_file = folder.log_file(lease.job.log_path)
        try:
            await asyncio.to_thread(folder.create, lease.job)
            self.shipper.add(lease.id, folder, log_file, folder.read_cursor())
            self._log_watch.set()
            if lease.kill_reason is not None:
                # Fenced or cancelled in the meantime.
                await self._end(lease, TaskExit(lease.id, None))
                return
            order = StartOrder(lease.id, folder.root, workload, log_file, self.execution_api_url)
            await self._launcher.start(order)
            log.info("started %s %s, lease %s", lease.job.kind, lease.job.job_id, lease.id)
        except (OSError, RunnerBrokenError) as error:
            log.exception("task of lease %s could not be started", lease.id)
            await self._end(lease, TaskExit(lease.id, None, f"the task could not be started: {error}"))

    def _on_exit(self, task_exit: TaskExit) -> None:
        lease = self._leases.get(task_exit.lease_id)
        if lease is not None and lease.phase is Phase.RUNNING:
            self._spawn(self._end(lease, task_exit), f"end {lease.id}")

    async def _end(self, lease: Lease, task_exit: TaskExit) -> None:
        """Settle how a task ended, durably, and report it."""
        folder = self._spool.folder(lease.id)
        outcome, modules = await asyncio.to_thread(settle, folder, lease, task_exit)
        log.info("ended %s %s, lease %s: %s", lease.job.kind, lease.job.job_id, lease.id, outcome.outcome)
        self.carry_out(self._leases.on_ended(lease, outcome))
        await self.shipper.end(lease.id)
        self._tidy(lease)
        self._changed.set()
        self._wake.set()
        self._launcher.learn(modules)

    async def recover(self) -> None:
        """Take over what a former agent left behind: its tasks are gone, reports and logs may be due."""
        for job, folder in await asyncio.to_thread(self._spool.recover):
            outcome = await asyncio.to_thread(settle_left_over, folder, job.log_path)
            self._leases.restore(job, outcome)
            self.shipper.add(job.lease_id, folder, folder.log_file(job.log_path), folder.read_cursor())
            await self.shipper.end(job.lease_id)
            log.info("left over from a former start: lease %s, %s", job.lease_id, outcome.outcome)
        self._log_watch.set()

    async def watch_logs(self) -> None:
        """Read what running tasks have written, until cancelled."""
        while True:
            if not self.shipper.active:
                self._log_watch.clear()
                await self._log_watch.wait()
            if await self.shipper.poll():
                self._wake.set()
            await asyncio.sleep(LOG_POLL_S)
