"""Refused calls in the audit trail, bounded so that a flood of them can't fill it.

The first refusal of a kind from an address is written at once; repeats within the same minute become one entry with
their number. Kinds and addresses of a minute are bounded too: beyond the bound they are counted together.
"""

import asyncio
import logging
import re
import time
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_store.identity import audit
from edge_store.jobs import logs

WINDOW_S: Final = 60.0
LEASES_MOST: Final = 1000
KINDS_MOST: Final = 200
"""Entries per minute of refusals, and as many again for their repeats."""
MANY: Final = "(many)"

_ID = re.compile(r"edge[ajw]_([0-9a-f]{32})_")

log = logging.getLogger(__name__)


class Refusals:
    """Collects refusals and writes them."""

    def __init__(self, database: Database, window_s: float = WINDOW_S) -> None:
        self._database = database
        self._window_s = window_s
        self._counts: dict[tuple[str, str], int] = {}
        self._leases: dict[UUID, tuple[str, str]] = {}
        self._unwritten: list[audit.NewAudit] = []
        self._news = asyncio.Event()

    def note(self, who: str, code: str, secret: str | None, what: str) -> None:
        """Note that a call was refused.

        `who` is the caller's address, or the name that its credential proves. Of `secret`, a token or an Authorization
        header, only the public id is kept. `what` names the call.
        """
        key = (who, code)
        if key not in self._counts and len(self._counts) >= KINDS_MOST:
            key = (MANY, MANY)
        seen = self._counts.get(key, 0)
        self._counts[key] = seen + 1
        if seen == 0:
            detail = {"call": what[:300].encode("ascii", "replace").decode().replace("\x00", "?")}
            found = _ID.search(secret or "")
            shown = f"credential/{found[1]}" if found else "credential/-"
            self._unwritten.append(audit.NewAudit(key[0], f"refused.{key[1]}", shown, detail))
            self._news.set()

    def check_lease(self, worker: str, lease: UUID, frame: str) -> None:
        """Find out later whether a stale lease was another worker's, and if so, note that."""
        if len(self._leases) < LEASES_MOST:
            self._leases[lease] = (worker, frame)
            self._news.set()

    async def run(self) -> NoReturn:
        """Write forever."""
        ends = time.monotonic() + self._window_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                    await self._news.wait()
            except TimeoutError:
                self._end_window()
                ends = time.monotonic() + self._window_s
            self._news.clear()
            await self.flush()

    def _end_window(self) -> None:
        self._unwritten += [
            audit.NewAudit(who, f"refused.{code}", "credential/-", {"repeated": count - 1})
            for (who, code), count in self._counts.items()
            if count > 1
        ]
        self._counts = {}

    async def flush(self) -> None:
        """Write what was noted; while the database is away it stays noted."""
        try:
            await self._look_up_leases()
        except DatabaseAwayError as error:
            log.warning("refused leases are not looked up: %s", error)
        entries, self._unwritten = self._unwritten, []
        if not entries:
            return
        try:
            await self._database.run(audit.add(entries))
        except DatabaseAwayError as error:
            log.warning("refusals wait for the database: %s", error)
            self._unwritten = (entries + self._unwritten)[: 4 * KINDS_MOST]
        except DatabaseRefusedError:
            log.exception("the database refuses entries of the audit trail")

    async def _look_up_leases(self) -> None:
        leases, self._leases = self._leases, {}
        if not leases:
            return
        for row in await self._database.rows(logs.log_ends(list(leases))):
            worker, frame = leases[row.id]
            if row.worker_name != worker:
                self.note(f"worker:{worker}", "foreign_lease", None, f"{frame} for a lease of worker {row.worker_name}")
