"""The warm runner, seen as one thing that starts tasks: templates come and go behind it.

A template is never changed. When tasks turn out to import more than it has, a new one is started in the background;
once that is ready new tasks go there, and the old one leaves with its last task. A template that does not become ready
is thrown away, with the module that is to blame kept out from then on, and the last good one stays.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from edge_worker.backoff import Backoff
from edge_worker.host import processes
from edge_worker.tasks.launcher import ExitListener, RunnerBrokenError, StartOrder, TaskExit
from edge_worker.tasks.learned import LearnedModules
from edge_worker.tasks.refresh import RefreshPolicy
from edge_worker.tasks.runner_process import Ready, RunnerProcess, RunnerStartError

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
"""Seconds for a runner process to import everything."""
CLOSE_TIMEOUT_S = 15.0
"""Seconds for a runner process to end its tasks and itself."""
FIRST_ATTEMPTS = 3
"""Failed starts, before any has worked, after which the host counts as not able to run tasks."""
_BLAME_MAX = 25


class RunnerPool:
    """The current runner process, its retiring predecessors and its coming successor."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        lock_fd: int,
        environ: Mapping[str, str],
        learned: LearnedModules | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up. `learned`: None for runners that do not preload."""
        self._command = command
        self._lock_fd = lock_fd
        self._environ = environ
        self._learned = learned
        self._clock = clock
        self._policy = RefreshPolicy()
        self._listener: ExitListener | None = None
        self._current: RunnerProcess | None = None
        self._alive: set[RunnerProcess] = set()
        self._pids: set[int] = set()
        """All runner processes, those that still start included: what else hangs below the agent is a stray."""
        self._births = asyncio.Lock()
        self._starting: dict[UUID, float | None] = {}
        """Tasks on their way to a runner; with a grace: to be ended as soon as they are there."""
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()

    def listen(self, listener: ExitListener) -> None:
        """Say who is told about ends of tasks."""
        self._listener = listener

    async def prepare(self) -> None:
        """Wait for the first runner; `supervise` raises if there will never be one."""
        await self._ready.wait()

    async def supervise(self) -> None:
        """Start, watch and replace runner processes until cancelled.

        Raises:
            RunnerBrokenError: the first runner cannot be started.

        """
        backoff = Backoff(first_s=1, longest_s=60)
        failures, worked = 0, False
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    fresh = await self._start_process()
                except (RunnerStartError, OSError) as error:
                    failures += 1
                    log.error("the runner could not be started: %s", error)  # noqa: TRY400 - the cause says it all
                    if not worked and failures >= FIRST_ATTEMPTS:
                        raise RunnerBrokenError(
                            f"the runner cannot be started: {error}; is airflow-edge-worker[airflow] installed?"
                        ) from error
                    if self._current is None:
                        await asyncio.sleep(backoff.next_delay())
                        continue
                else:
                    worked = True
                    backoff.reset()
                    self._switch_to(fresh)
                    group.create_task(self._serve(fresh), name=f"runner {fresh.pid}")
                await self._until_due()

    async def start(self, order: StartOrder) -> None:
        """Start a task in the current runner, waiting for one if there is none right now."""
        self._starting[order.lease_id] = None
        try:
            runner = await self._wait_for_runner()
        finally:
            grace_s = self._starting.pop(order.lease_id)
        runner.start(order)
        if grace_s is not None:
            runner.kill(order.lease_id, grace_s)
        self._note_running()

    async def _wait_for_runner(self) -> RunnerProcess:
        deadline = self._clock() + 2 * START_TIMEOUT_S
        while self._current is None:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock())):
                    await self._ready.wait()
            except TimeoutError as error:
                raise RunnerBrokenError("no runner could be started on this worker in time") from error
        return self._current

    def kill(self, lease_id: UUID, grace_s: float) -> None:
        """End a task, whichever runner has it."""
        if lease_id in self._starting:
            self._starting[lease_id] = grace_s
        for process in self._alive:
            if lease_id in process.running:
                process.kill(lease_id, grace_s)

    def learn(self, modules: set[str]) -> None:
        """Take in what a task had to import."""
        if self._learned is None or not modules:
            return
        count = self._learned.add(modules)
        if count:
            log.info("learned %d modules to preload", count)
            self._policy.learned(count, self._clock())
            self._changed.set()

    async def close(self) -> None:
        """End all runner processes, and with them all tasks."""
        async with asyncio.TaskGroup() as group:
            for process in self._alive:
                group.create_task(process.close(CLOSE_TIMEOUT_S), name=f"close runner {process.pid}")
        self._alive.clear()
        await asyncio.to_thread(processes.kill_strays, ())

    async def _start_process(self) -> RunnerProcess:
        """Start one runner process, leaving out modules that make it unfit."""
        for _ in range(_BLAME_MAX):
            async with self._births:
                process = await RunnerProcess.spawn(self._command, self._lock_fd, self._environ)
                self._pids.add(process.pid)
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    ready = await process.become_ready(self._learned.preload_list() if self._learned else [])
            except (RunnerStartError, TimeoutError) as error:
                await self._discard(process)
                blamed = error.module if isinstance(error, RunnerStartError) else None
                if self._learned is None or blamed is None:
                    raise RunnerStartError(str(error) or f"not ready after {START_TIMEOUT_S:.0f} s") from error
                self._learned.deny(blamed, str(error))
                await asyncio.to_thread(self._learned.save)
            except BaseException:
                await self._discard(process)
                raise
            else:
                await self._note_ready(process, ready)
                return process
        raise RunnerStartError("too many modules make it unfit")

    async def _discard(self, process: RunnerProcess) -> None:
        await process.close(wait_s=1)
        self._pids.discard(process.pid)

    async def _note_ready(self, process: RunnerProcess, ready: Ready) -> None:
        resident = (ready.resident_bytes or 0) >> 20
        log.info("runner %d is ready: %d modules, %d MB", process.pid, ready.modules, resident)
        for name, reason in ready.skipped.items():
            log.debug("module %s could not be preloaded: %s", name, reason)
        if self._learned is not None:
            with suppress(OSError):
                await asyncio.to_thread(self._learned.save)

    def _switch_to(self, fresh: RunnerProcess) -> None:
        if self._current is not None:
            self._current.retire()
        self._alive.add(fresh)
        self._current = fresh
        self._ready.set()

    async def _serve(self, process: RunnerProcess) -> None:
        await process.serve(self._task_ended)
        lost = set(process.running)
        self._alive.discard(process)
        if process is self._current:
            log.error("runner %d died; a new one is started", process.pid)
            self._current = None
            self._ready.clear()
            self._changed.set()
        await process.close(CLOSE_TIMEOUT_S)
        self._pids.discard(process.pid)
        if lost:
            # The kernel has ended the supervisors and tasks with their runner; what those had started is still there.
            async with self._births:
                await asyncio.to_thread(processes.kill_strays, frozenset(self._pids))
        for lease_id in lost:
            self._task_ended(TaskExit(lease_id, None, "the runner process died"))

    def _task_ended(self, task_exit: TaskExit) -> None:
        self._note_running()
        if self._listener is not None:
            self._listener(task_exit)

    def _note_running(self) -> None:
        self._policy.tasks_running(sum(len(process.running) for process in self._alive), self._clock())
        self._changed.set()

    async def _until_due(self) -> None:
        """Wait until another process should be started."""
        while self._current is not None:
            due = self._policy.due_at()
            if due is not None and due <= self._clock():
                break
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - self._clock()):
                    await self._changed.wait()
        self._policy.started(self._clock())
