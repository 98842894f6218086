"""Tasks end in time: when their worker is out of contact for too long, and when their runner does not end them.

Out of contact, a task may go on for as long as its job tolerates; then this worker ends it, before the control plane
gives the job up and Airflow may run it elsewhere. A stopped agent can do nothing of that, so runners end tasks at the
same deadline, a little later (`edge_worker.runner.loop`). A stopped runner in turn ends none, so the agent does it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from edge_protocol.frames import Ack, Frame, HeartbeatAck, ServerFrame, Welcome
from edge_worker.tasks.contact import LOOK_S, Contact, boot_clock, mark_of
from edge_worker.tasks.leases import Lease, Leases, Phase
from edge_worker.tasks.runners import RunnerPool
from edge_worker.tasks.work import Work

log = logging.getLogger(__name__)

TASK_LATE_S = 2.0
"""Seconds after the grace period at which the agent itself ends what runs below a supervisor."""
SUPERVISOR_LATE_S = 5.0
"""Seconds after the grace period at which it ends the supervisor, too: a runner waits 3 s for its last words."""
_ARRIVED_S = 0.1
"""Seconds in which an acknowledgement that has arrived is read, after this process could not run for a while."""


class Fencing:
    """Knows the last contact, and ends tasks that must not run on."""

    def __init__(
        self,
        contact: Contact,
        leases: Leases,
        runners: RunnerPool,
        work: Work,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._contact = contact
        self._leases = leases
        self._runners = runners
        self._work = work
        self._clock = clock
        self._accepted = asyncio.Event()

    def saying_hello(self) -> None:
        """Note that a `hello` is sent now; the `welcome` acknowledges it."""
        self._contact.saying_hello(self._clock())

    def mark(self) -> int | None:
        """Return the mark of a heartbeat that is sent now; None: no task needs its acknowledgement."""
        return mark_of(self._clock()) if self._leases.active else None

    def on_welcome(self, _welcome: Welcome) -> Iterable[Frame]:
        """Note the contact."""
        if self._contact.welcomed(self._clock()):
            self._runners.renew_contact()
        return ()

    def on_frame(self, frame: ServerFrame) -> None:
        """Note the contact, and that there may be a task to watch."""
        if isinstance(frame, HeartbeatAck):
            if self._contact.acknowledged(frame.mark, self._clock()):
                self._runners.renew_contact()
        elif isinstance(frame, Ack) and frame.of == "accept":
            self._accepted.set()

    def on_disconnect(self) -> None:
        """Do nothing: the last contact stays what it was."""

    async def watch(self) -> None:
        """End tasks in time, until cancelled."""
        while True:
            if not self._leases.in_phase(Phase.RUNNING):
                self._accepted.clear()
                await self._accepted.wait()
            await asyncio.sleep(LOOK_S)
            if self._out_of_contact():
                await asyncio.sleep(_ARRIVED_S)
            await self.look()

    async def look(self) -> None:
        """End the tasks that are overdue now."""
        for lease in self._out_of_contact():
            if (tolerance := lease.tolerance) is not None:
                now = self._clock()
                self._work.end(
                    lease, self._contact.reason(tolerance, now), grace_s=self._contact.grace_s(tolerance, now)
                )
        for lease in self._leases.in_phase(Phase.RUNNING):
            if lease.dead_by is not None and (late_s := self._clock() - lease.dead_by) >= TASK_LATE_S:
                await self._runners.end_directly(lease.id, supervisor=late_s >= SUPERVISOR_LATE_S)

    def _out_of_contact(self) -> list[Lease]:
        now = self._clock()
        return [
            lease
            for lease in self._leases.in_phase(Phase.RUNNING)
            if lease.tolerance is not None
            and lease.kill_reason is None
            and self._contact.deadline(lease.tolerance) <= now
        ]
