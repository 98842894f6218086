"""The audit trail for people."""

from datetime import datetime

from edge_api.admin import cursors
from edge_api.admin.callers import Caller
from edge_api.database.pool import Database
from edge_protocol.admin import AuditEntry, AuditPage
from edge_store.identity import audit


class Trail:
    """Reads the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        caller: Caller,
        actor: str | None,
        action: str | None,
        object_: str | None,
        since: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> AuditPage:
        """Return entries that the caller may see, the newest first. `actor` and `action` match from the start."""
        before = cursors.decode_number(cursor)
        statement = audit.entries(limit + 1, before, actor, action, object_, since, caller.scope)
        rows = await self._database.rows(statement)
        items = [AuditEntry.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return AuditPage(items=items, next=cursors.encode(str(items[-1].id)) if len(rows) > limit else None)
