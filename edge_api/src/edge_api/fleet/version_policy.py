"""Cordons workers whose versions are outside the skew policy, and lifts the cordon as soon as they are inside.

Such a worker is neither turned away nor told to stop its tasks, so an upgrade of either side never kills one.

The reference for Airflow is what the executor has written into the database, so that an upgrade of Airflow counts
without a restart of this process; a setting overrides it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, NoReturn

from packaging.version import InvalidVersion, Version

from edge_api import __version__
from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError
from edge_api.settings import ApiSettings, SkewPolicy
from edge_store.schema import platform
from edge_store.workers import agents

PERIOD_S: Final = 2.0

log = logging.getLogger(__name__)

_NUMBERS: Final = {SkewPolicy.PATCH: 3, SkewPolicy.MINOR: 2}
"""Release numbers that must agree."""


class VersionPolicy:
    """Decides whether a worker's versions are accepted, and keeps the cordon reasons in the store up to date."""

    def __init__(self, database: Database, settings: ApiSettings, cordon: Callable[[str, str | None], None]) -> None:
        """`cordon` is called with the worker and the reason (None: none any more) when the policy's answer changes."""
        self._database = database
        self._cordon = cordon
        self._settings = settings
        self._reference = settings.airflow_version
        self._judged = False
        """Whether all workers were judged by the present reference."""

    @property
    def airflow(self) -> str | None:
        """The platform's version of Airflow, if it is known."""
        return self._reference

    def reason(self, versions: dict[str, Any], protocol: int) -> str | None:
        """Return why a worker is cordoned, as a sentence, or None. v1 workers do not run this project's package."""
        settings = self._settings
        airflow = version_skew("Airflow", settings.airflow_skew, self._reference, versions.get("airflow"))
        if airflow is not None or protocol == 1:
            return airflow
        return version_skew("edge-worker", settings.worker_skew, __version__, versions.get("worker"))

    async def run(self) -> NoReturn:
        """Follow the reference forever."""
        while True:
            try:
                await self.look()
            except DatabaseAwayError as error:
                log.warning("the version policy waits for the database: %s", error)
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Read the reference; if it has changed, judge all workers."""
        if self._settings.airflow_version is None:
            fact = await self._database.first(platform.get(platform.AIRFLOW_VERSION))
            reference = None if fact is None else fact.value
            if reference != self._reference:
                self._reference, self._judged = reference, False
        if self._judged:
            return
        rows = await self._database.rows(agents.all_versions())
        reasons = {row.name: self.reason(row.versions, row.protocol) for row in rows}
        changed = await self._database.rows(agents.set_cordon_reasons(reasons)) if reasons else []
        self._judged = True
        for row in changed:
            log.info("version judged again", extra={"worker": row.name, "reason": reasons[row.name]})
            self._cordon(row.name, reasons[row.name])


def version_skew(what: str, policy: SkewPolicy, reference: str | None, actual: str | None) -> str | None:
    """Return why a version is not accepted, as a sentence, or None if it is.

    `reference` is the platform's version; None: not known yet, nothing is compared. `what` names the software.
    """
    if policy is SkewPolicy.ANY or reference is None:
        return None
    if actual is None:
        return f"The worker does not report its version of {what}; the platform has {reference}. Upgrade the worker."
    if _alike(policy, reference, actual):
        return None
    return (
        f"The worker has {what} {actual}, the platform {reference}; the policy is {_said(policy)}. "
        f"Install {what} {reference} on the worker."
    )


def _said(policy: SkewPolicy) -> str:
    return "the exact version" if policy is SkewPolicy.EXACT else f"the same {policy.value} version"


def _alike(policy: SkewPolicy, reference: str, actual: str) -> bool:
    try:
        one, other = Version(reference), Version(actual)
    except InvalidVersion:
        return reference == actual
    if policy is SkewPolicy.EXACT:
        return one == other
    count = _NUMBERS[policy]
    return (one.epoch, *_release(one)[:count]) == (other.epoch, *_release(other)[:count])


def _release(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.micro
