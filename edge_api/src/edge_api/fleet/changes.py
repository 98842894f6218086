"""The change stream: what happens to the fleet, as it happens, to any number of followers.

One reader for all followers of this process; it looks once a second while there are any, and at once after a hint. It
goes on from the horizon that it saw (see `edge_store.workers.changes`), so a change that commits late is not missed. It
remembers what it has sent from there on, so that it sends nothing twice while an old transaction is still open.

An event's id is a place to go on from, on any replica: everything before it was sent. A follower that comes with a
place gets what happened since; one that has none, or one that is too old, gets the whole fleet.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NoReturn
from uuid import UUID

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, RefusedError
from edge_protocol.admin import ChangeKind, RemovedWorker, WorkerView
from edge_store.identity.scopes import Scope
from edge_store.workers import changes, worker_views

PERIOD_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
FOLLOWERS_MOST: Final = 500
BACKLOG_MOST: Final = 20_000
"""Events kept for a follower that reads slowly; it is let go when there are more, and comes back with its place."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One event."""

    kind: ChangeKind
    data: str
    """JSON."""
    place: int | None
    """Where to go on from after this event; None: as after the event before it."""
    worker: str | None = None
    """The worker that it is about; None: it is for every follower."""
    team: str | None = None

    @property
    def text(self) -> str:
        """The event in the format of server-sent events."""
        place = "" if self.place is None else f"id: {self.place}\n"
        return f"{place}event: {self.kind}\ndata: {self.data}\n\n"


class Follower:
    """One open stream of what its credential may see."""

    def __init__(self, credential_id: UUID, expires_at: datetime, scope: Scope) -> None:
        self.credential_id = credential_id
        self.expires_at = expires_at
        self.scope = scope
        self._known: set[str] = set()
        """Workers that it knows of; kept where a team bounds it, since a name may go over to another team."""
        self._events: asyncio.Queue[Change | None] = asyncio.Queue()

    def seen(self, change: Change) -> Change | None:
        """Return a change as this follower sees it (None: not at all), and remember which workers it knows."""
        if change.worker is None or self.scope.covers_worker(change.worker, change.team):
            if change.worker is not None and self.scope.team is not None:
                self._known.add(change.worker)
            return change
        if change.worker not in self._known:
            return None
        # It belongs to another team from now on.
        self._known.discard(change.worker)
        return _removed(change.worker, change.team, change.place)

    def put(self, change: Change) -> None:
        """Queue an event; a follower that reads too slowly is let go."""
        if self._events.qsize() >= BACKLOG_MOST:
            self.end()
        else:
            self._events.put_nowait(change)

    def end(self) -> None:
        """End its stream; it connects again if it still may."""
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(None)

    async def next(self, wait_s: float) -> Change | None:
        """Return the next event, or None if the stream ends.

        Raises:
            TimeoutError: nothing happened for `wait_s` seconds.

        """
        async with asyncio.timeout(wait_s):
            return await self._events.get()


class ChangeFeed:
    """Reads changes and sends them to followers."""

    def __init__(self, database: Database, view: Callable[[worker_views.WorkerRow], WorkerView]) -> None:
        self._database = database
        self._view = view
        self._followers: set[Follower] = set()
        self._followed = asyncio.Event()
        self._hint = asyncio.Event()
        self._place = 0
        self._sent: dict[str, int] = {}
        """Revisions already sent that are not before the place, by worker."""
        self._closing = False

    # ---- followers ----

    async def follow(self, follower: Follower, last_event_id: str | None) -> AsyncIterator[str]:
        """Return the texts of a stream.

        Raises:
            RefusedError: too many streams, or this replica stops (503).

        """
        if self._closing or len(self._followers) >= FOLLOWERS_MOST:
            raise RefusedError(503, "too_many_streams", "This replica takes no more change streams. Connect again.")
        # Events from here on are kept for it, so nothing is missed between its start and the first of them.
        self._followers.add(follower)
        self._followed.set()
        try:
            start = await self._start(follower, last_event_id)
        except BaseException:
            self._leave(follower)
            raise
        return self._stream(follower, start)

    async def _stream(self, follower: Follower, start: Sequence[Change]) -> AsyncIterator[str]:
        try:
            for each in start:
                if (change := follower.seen(each)) is not None:
                    yield change.text
            while (left_s := (follower.expires_at - datetime.now(UTC)).total_seconds()) > 0:
                try:
                    change_or_end = await follower.next(min(KEEP_ALIVE_S, left_s))
                except TimeoutError:
                    yield ": keep-alive\n\n"
                    continue
                if change_or_end is None:
                    return
                if (change := follower.seen(change_or_end)) is not None:
                    yield change.text
        finally:
            self._leave(follower)

    def _leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers:
            self._followed.clear()
            self._place, self._sent = 0, {}

    def credential_changed(self, credential_id: UUID | None) -> None:
        """End the streams of a credential (None: of all), since it may have been revoked."""
        for follower in self._followers:
            if credential_id is None or follower.credential_id == credential_id:
                follower.end()

    def close(self) -> None:
        """End all streams and take no new ones: this process stops."""
        self._closing = True
        for follower in self._followers:
            follower.end()

    # ---- reading ----

    async def _start(self, follower: Follower, last_event_id: str | None) -> list[Change]:
        (bounds,) = await self._database.rows(changes.horizon())
        if self._place == 0:
            # The first follower: the reader goes on from where its start ends.
            self._place = bounds.horizon
        # What a team's follower knew before it came back is not stored.
        since = _place(last_event_id) if follower.scope.team is None else None
        if since is not None and bounds.purged < since <= bounds.horizon:
            missed = await self._read(since)
        else:
            missed = [Change(ChangeKind.RESET, "{}", None), *await self._read(0)]
        return [*missed, Change(ChangeKind.READY, "{}", bounds.horizon)]

    async def _read(self, since: int) -> list[Change]:
        rows = await self._database.rows(worker_views.changed_since(since))
        gone = await self._database.rows(changes.removed_since(since)) if since else []
        return [_worker(self._view(row)) for row in rows] + [_removed(row.name, row.team) for row in gone]

    def hint(self) -> None:
        """Look soon: something has changed."""
        self._hint.set()

    async def run(self) -> NoReturn:
        """Look for changes forever, while somebody follows."""
        while True:
            await self._followed.wait()
            try:
                await self._look()
            except DatabaseAwayError as error:
                log.warning("the change stream waits for the database: %s", error)
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._hint.wait()
            except TimeoutError:
                continue
            finally:
                self._hint.clear()

    async def _look(self) -> None:
        if self._place == 0:
            return
        horizon = (await self._database.rows(changes.horizon()))[0].horizon
        rows = await self._database.rows(worker_views.changed_since(self._place))
        gone = await self._database.rows(changes.removed_since(self._place))
        news = [_worker(self._view(row)) for row in rows if self._sent.get(row.name) != row.revision]
        news += [_removed(row.name, row.team) for row in gone if self._sent.get(row.name) != row.revision]
        revisions = [(row.name, row.revision) for row in rows] + [(row.name, row.revision) for row in gone]
        self._sent = {name: revision for name, revision in revisions if revision >= horizon}
        self._place = horizon
        if news:
            news[-1] = replace(news[-1], place=horizon)
        for change in news:
            for follower in list(self._followers):
                follower.put(change)


def _worker(view: WorkerView) -> Change:
    return Change(ChangeKind.WORKER, view.model_dump_json(), None, view.name, view.team)


def _removed(name: str, team: str | None, place: int | None = None) -> Change:
    return Change(ChangeKind.REMOVED, RemovedWorker(name=name).model_dump_json(), place, name, team)


def _place(last_event_id: str | None) -> int | None:
    if last_event_id is None or not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        return None
    return int(last_event_id)
