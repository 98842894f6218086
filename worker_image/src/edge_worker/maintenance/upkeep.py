"""Carries maintenance out: remembers the host's wish, asks the health check, says when jobs may be taken."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from edge_protocol.frames import DesiredFrame, Maintained, Maintenance
from edge_worker.errors import StateFolderError
from edge_worker.host.atomic import read_json, write_json
from edge_worker.maintenance.health import HealthCheck
from edge_worker.maintenance.maintenance import OwnMaintenance

log = logging.getLogger(__name__)


class Upkeep:
    """Maintenance of one worker.

    `changed` is called whenever the worker may have to take jobs, to stop taking them, or has something to say.
    """

    def __init__(self, file: Path, health: HealthCheck | None, changed: Callable[[], None]) -> None:
        self.own = OwnMaintenance()
        self.unhealthy: str | None = None
        """What the health check last objected to."""
        self._file = file
        self._health = health
        self._changed = changed
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Take over a wish that a former start could not get confirmed."""
        content = await asyncio.to_thread(read_json, self._file)
        if content is None:
            return
        try:
            self.own.restore(Maintenance.model_validate(content))
        except ValidationError:
            log.warning("%s is not readable and does not count", self._file)
            return
        log.info("maintenance %s was asked for before the restart", "on" if self.own.on else "off")
        self._changed()

    async def ask(self, *, on: bool, comment: str | None) -> None:
        """Wish for maintenance, or for its end, on behalf of the host; it counts at once and is durable on return.

        Raises:
            StateFolderError: it counts, but would not survive a restart before the edge API knows.

        """
        self.own.ask(on=on, comment=comment)
        self._changed()
        await self.save()

    def on_desired(self, desired: DesiredFrame) -> bool:
        """Take over what is desired; False if a newer frame came first."""
        known = self.own.desired
        if known is not None and desired.version < known.version:
            return False
        if desired != known:
            log.info("desired: %s", desired.model_dump_json(exclude={"type"}))
        self.own.desired = desired
        return True

    def on_confirmed(self, frame: Maintained) -> bool:
        """Forget a wish that is stored; True if `save` is due."""
        wish = self.own.find(frame.id)
        if wish is None:
            return False
        self.own.on_confirmed(wish)
        return wish.source == "host"

    async def save(self) -> None:
        """Write down, or delete, the host's wish.

        Raises:
            StateFolderError: the state folder cannot be written.

        """
        async with self._saving:
            wish = self.own.host_wish
            try:
                if wish is None:
                    await asyncio.to_thread(self._file.unlink, missing_ok=True)
                else:
                    await asyncio.to_thread(write_json, self._file, wish.model_dump(mode="json"), durable=True)
            except OSError as error:
                raise StateFolderError(f"{self._file} cannot be written ({error.strerror})") from error

    async def forget(self) -> None:
        """Delete the host's wish once it is stored; one that stays is only said again."""
        try:
            await self.save()
        except StateFolderError as error:
            log.warning("%s", error)

    async def watch_health(self, interval_s: Callable[[], float]) -> None:
        """Ask the health check once each interval, and follow its verdict."""
        if self._health is None:
            return
        while True:
            reason = await self._health.ask()
            if reason != self.unhealthy:
                log.warning("health check: %s", reason) if reason else log.info("health check: all is well again")
            self.unhealthy = reason
            if self.own.on_health(reason):
                self._changed()
            await asyncio.sleep(interval_s())
