"""`/audit`: what was done and what was refused."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from edge_api.admin import cursors
from edge_api.admin.parameters import LIMIT, Cursor, Limit, WhoCalls
from edge_api.database.pool import Database
from edge_protocol.admin import AuditEntry, AuditPage
from edge_store.identity import audit


class AuditAdmin:
    """Reads the audit trail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.router = APIRouter(tags=["audit"])
        self.router.get("/audit")(self.list_audit)

    async def list_audit(
        self,
        caller: WhoCalls,
        actor: Annotated[str | None, Query(max_length=512, description="Start of the actor.")] = None,
        action: Annotated[str | None, Query(max_length=128, description="Start of the action.")] = None,
        object_: Annotated[str | None, Query(alias="object", max_length=512, examples=["worker/plant-7"])] = None,
        since: datetime | None = None,
        limit: Limit = LIMIT,
        cursor: Cursor = None,
    ) -> AuditPage:
        """List what was done and what was refused, the newest first. A time without a zone is UTC."""
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        before = cursors.decode_number(cursor)
        statement = audit.entries(limit + 1, before, actor, action, object_, since, caller.scope)
        rows = await self._database.rows(statement)
        items = [AuditEntry.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return AuditPage(items=items, next=cursors.encode(str(items[-1].id)) if len(rows) > limit else None)
