"""Registration and heartbeats of v1 workers."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from edge_api.database.pool import Database
from edge_api.database.storable import storable_text
from edge_api.errors import RefusedError
from edge_api.fleet.samples import sample_of
from edge_api.fleet.version_policy import VersionPolicy
from edge_api.settings import ApiSettings
from edge_api.v1 import state as words
from edge_api.v1.models import WorkerQueueUpdateBody, WorkerRegistrationReturn, WorkerSetStateReturn, WorkerStateBody
from edge_protocol.limits import CONCURRENCY_MAX
from edge_protocol.worker_state import GONE_STATES, MISSED_HEARTBEATS, WorkerState
from edge_store import v1
from edge_store.database.statement import Statement
from edge_store.identity import audit
from edge_store.jobs import leases
from edge_store.workers import agents, requests

PROVIDER_VERSION: Final = "5.1.0"
"""Of the edge3 provider whose wire this is."""

TEXT_MAX: Final = 1024

_ANSWERED: Final = "v1_answered"
_COMMENT: Final = "v1_comment"
_QUEUES: Final = ("default",)
"""Stored for a worker that serves any queue; only its `any_queue` counts."""


def _identity(name: str) -> UUID:
    """Return the identity of a v1 worker, which follows from its name."""
    return uuid5(NAMESPACE_URL, f"edge_worker/v1/{name}")


class V1Workers:
    """Registers v1 workers and handles their heartbeats."""

    def __init__(self, database: Database, policy: VersionPolicy, settings: ApiSettings) -> None:
        self._database = database
        self._policy = policy
        self._settings = settings

    async def find(self, name: str) -> agents.WorkerSession:
        """Return the worker's row.

        Raises:
            RefusedError: there is none (404), or it is an enrolled worker's, which v1 calls may not touch (403).

        """
        row = await self._database.first(agents.one_worker(name))
        if row is None:
            raise RefusedError(404, "worker_unknown", "Worker not found")
        if row.protocol != 1:
            raise RefusedError(403, "name_enrolled", f"The name {name} belongs to an enrolled worker.")
        return row

    async def register(self, name: str, body: WorkerStateBody) -> WorkerRegistrationReturn:
        """Register a worker.

        Raises:
            RefusedError: no versions reported (400), the name is a live worker's (409) or an enrolled one's (403).

        """
        versions = _versions(body)
        if await self._database.rows(v1.enrolled(name)):
            raise RefusedError(
                403, "name_enrolled", f"The name {name} belongs to an enrolled worker. Use another name."
            )
        window = self._settings.silence_window
        owner = await self._database.first(agents.name_owner(name, window))
        if owner is not None and owner.live:
            raise RefusedError(
                409,
                "name_taken",
                f"Worker '{name}' is already active. Cannot start a duplicate worker with the same name.",
            )
        await self._register(name, body, versions)
        return WorkerRegistrationReturn(last_update=datetime.now(UTC), versions_match=self._match(versions))

    async def _register(self, name: str, body: WorkerStateBody, versions: dict[str, Any]) -> None:
        desired = await self._database.first(agents.desired_of([name]))
        added, removed = ([], []) if desired is None else (desired.queues_added, desired.queues_removed)
        override = None if desired is None else desired.concurrency
        new = agents.Registration(
            name=name,
            identity=_identity(name),
            team=body.team_name if self._settings.v1_teams else None,
            queues=_QUEUES if body.queues is None else _effective(body.queues, added, removed),
            concurrency=_concurrency(body, override),
            session_id=uuid4(),
            instance=uuid4(),
            cordon_reason=self._policy.reason(versions, 1),
            versions=versions,
            protocol=1,
            any_queue=body.queues is None,
            silent_after_s=math.ceil(MISSED_HEARTBEATS * self._settings.v1_heartbeat_interval_s),
        )
        await self._database.rows(agents.register(new, self._settings.silence_window))
        # Its process is new: the tasks of the one before it are gone.
        reason = f"edge worker {name} restarted without the task"
        await self._database.unlocked_rows(leases.give_up(name, new.session_id, reason))
        beat = _beat(name, new.session_id, body, acknowledged=False)
        await self._database.rows(agents.heartbeats([beat]))

    async def heartbeat(self, name: str, body: WorkerStateBody) -> WorkerSetStateReturn:
        """Store a heartbeat, and answer with the desired state.

        Raises:
            RefusedError: as `find`, or no versions reported (400).

        """
        versions = _versions(body)
        row = await self.find(name)
        outcome = words.answer(_before(row), body.state, body.maintenance_comments)
        if body.state in GONE_STATES:
            await self._leave(row)
        elif row.session_id is None:
            # It had disconnected or was removed in the meantime, and goes on all the same.
            await self._register(name, body, versions)
        else:
            await self._go_on(row, row.session_id, body, versions, outcome)
        await self._request(name, outcome)
        return await self._answer(name, outcome, versions)

    async def _go_on(
        self,
        row: agents.WorkerSession,
        session_id: UUID,
        body: WorkerStateBody,
        versions: dict[str, Any],
        outcome: words.Outcome,
    ) -> None:
        comment = outcome.comment if outcome.request == "enter" else row.maintenance_comment
        stored = {**versions, _ANSWERED: outcome.state.value, _COMMENT: comment}
        queues = _effective(row.queues, row.queues_added, row.queues_removed)
        update = v1.update_worker(row.name, session_id, stored, queues, _concurrency(body, row.concurrency_override))
        beat = _beat(row.name, session_id, body, acknowledged=body.state in words.ACKNOWLEDGED)
        async with self._database.transaction("v1_heartbeat") as transaction:
            await transaction.rows(agents.heartbeats([beat]))
            await transaction.run(update)

    async def _request(self, name: str, outcome: words.Outcome) -> None:
        """Store the request of the worker's own host."""
        by = f"worker {name}"
        if outcome.request == "enter":
            detail = {"comment": outcome.comment}
            await self._change(
                requests.enter_maintenance([name], outcome.comment, by), "worker.maintenance", name, detail
            )
        elif outcome.request == "exit":
            await self._change(requests.exit_maintenance([name]), "worker.exit_maintenance", name, {})

    async def _answer(self, name: str, outcome: words.Outcome, versions: dict[str, Any]) -> WorkerSetStateReturn:
        row = await self.find(name)
        return WorkerSetStateReturn(
            state=outcome.state,
            queues=None if row.any_queue else _effective(row.queues, row.queues_added, row.queues_removed),
            maintenance_comments=row.maintenance_comment,
            concurrency=row.concurrency_override,
            versions_match=self._match(versions),
        )

    async def change_queues(self, name: str, body: WorkerQueueUpdateBody) -> None:
        """Add and remove queues. Raises the same errors as `find`."""
        await self.find(name)
        removed = body.remove_queues or []
        added = [queue for queue in body.new_queues or [] if queue not in removed]
        statement = requests.adjust([name], added, removed, None, set_concurrency=False)
        await self._change(statement, "worker.adjust", name, {"add_queues": added, "remove_queues": removed})

    async def _change(
        self, statement: Statement[requests.ChangedWorker], action: str, name: str, detail: dict[str, Any]
    ) -> None:
        async with self._database.transaction(action) as transaction:
            if await transaction.rows(statement):
                await transaction.run(audit.add([audit.NewAudit(f"worker:{name}", action, f"worker/{name}", detail)]))

    async def _leave(self, row: agents.WorkerSession) -> None:
        if row.session_id is not None:
            reason = f"edge worker {row.name} stopped without a report"
            await self._database.unlocked_rows(leases.give_up(row.name, row.session_id, reason))
            await self._database.run(agents.disconnect(row.name, row.session_id))

    def _match(self, versions: dict[str, Any]) -> bool:
        return versions["worker"] == PROVIDER_VERSION and self._policy.airflow in (None, versions["airflow"])


def _versions(body: WorkerStateBody) -> dict[str, Any]:
    for key, what in (("airflow_version", "version"), ("edge_provider_version", "provider version")):
        if key not in body.sysinfo:
            raise RefusedError(400, "version_missing", f"Edge Worker does not specify the {what} it is running on.")
    return {
        "worker": _text(body.sysinfo["edge_provider_version"], 64),
        "airflow": _text(body.sysinfo["airflow_version"], 64),
        "python": _text(body.sysinfo.get("python_version", ""), 64) or None,
    }


def _before(row: agents.WorkerSession) -> words.Before:
    answered = row.versions.get(_ANSWERED)
    return words.Before(
        maintenance=row.maintenance,
        comment=row.maintenance_comment,
        shutdown=row.shutdown,
        acknowledged=row.maintenance_acknowledged,
        answered=None if answered is None else WorkerState(answered),
        answered_comment=row.versions.get(_COMMENT),
    )


def _effective(queues: Sequence[str], added: Sequence[str], removed: Sequence[str]) -> list[str]:
    return sorted((set(queues) | set(added)) - set(removed))


def _concurrency(body: WorkerStateBody, override: int | None) -> int:
    if override is not None:
        return override
    slots = body.sysinfo.get("concurrency")
    return min(CONCURRENCY_MAX, max(1, slots)) if isinstance(slots, int) else 1


def _beat(name: str, session_id: UUID, body: WorkerStateBody, *, acknowledged: bool) -> agents.Beat:
    free = body.sysinfo.get("free_concurrency")
    return agents.Beat(
        name=name,
        session_id=session_id,
        jobs_active=body.jobs_active,
        free_slots=min(CONCURRENCY_MAX, max(0, free)) if isinstance(free, int) else 0,
        maintenance_acknowledged=acknowledged,
        terminating=body.state is WorkerState.TERMINATING,
        sample=sample_of(body.sysinfo),
        sysinfo={_text(key, 128): _plain(value) for key, value in body.sysinfo.items()},
    )


def _plain(value: str | float | datetime) -> Any:
    """Return the value as JSON in PostgreSQL can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int | float):
        return value
    return _text(value, TEXT_MAX)


def _text(value: object, most: int) -> str:
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return storable_text(text[:most]).encode("utf-8", "replace").decode()
