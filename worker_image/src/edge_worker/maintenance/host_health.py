"""Whether this host should take jobs: its disk space, whether tasks start, and the health function of the site."""

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path

from edge_worker.maintenance.health import HealthCheck
from edge_worker.tasks.runners import RunnerPool
from edge_worker.tasks.spool import Spool
from edge_worker.tasks.start_failures import StartFailures

_SMALL_DISK_SHARE = 10
_RECOVERY = 1.1
"""The free space must exceed the floor by a tenth before the disk counts as healthy: it must not flap."""


class DiskFloor:
    """The free disk space below which no jobs are taken; on a small file system at most a tenth of its size."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._low = False

    def check(self) -> str | None:
        """Return why the disk is not healthy, or None if it is."""
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError as error:
            return f"the disk space of {self._folder} cannot be read: {error.strerror}"
        floor = min(self._min_free_bytes, usage.total // _SMALL_DISK_SHARE)
        self._low = usage.free < floor * (_RECOVERY if self._low else 1)
        # Without the current number: a reason that changes would be sent again each time.
        return f"less than {floor >> 20} MiB of disk space are free in {self._folder}" if self._low else None


class HostHealth:
    """Checks the host; the first problem found is the reason for the maintenance."""

    def __init__(
        self, disk: DiskFloor, starts: StartFailures, spool: Spool, runners: RunnerPool, site: HealthCheck | None
    ) -> None:
        self._disk = disk
        self._starts = starts
        self._spool = spool
        self._runners = runners
        self._site = site

    async def run(self) -> str | None:
        """Return why the host is not healthy, or None if it is."""
        if (reason := await asyncio.to_thread(self._disk.check)) is not None:
            return reason
        if self._starts.retry_due(time.monotonic()) and await self._can_start():
            self._starts.retry()
        if self._starts.reason is not None:
            return self._starts.reason
        return await self._site.run() if self._site is not None else None

    async def wait(self, seconds: float) -> None:
        """Wait until the next check is due: sooner if a start fails."""
        if self._starts.reason is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._starts.noticed.wait()
        else:
            await asyncio.sleep(seconds)

    async def _can_start(self) -> bool:
        try:
            await asyncio.to_thread(self._spool.check_writable)
        except OSError:
            return False
        return self._runners.ready
