"""The audit trail: who did what, page by page or as a file."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from edge_protocol.admin import AUDIT_PATH, PAGE_MAX, AuditEntry, AuditPage
from edge_provider.ui.access import Viewer, WhoLooks, forbidden
from edge_provider.ui.client import EdgeApi

EXPORT_MOST = 20_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Start = Annotated[str | None, Query(max_length=512)]


class AuditPages:
    """Reads the audit trail."""

    def __init__(self, api: EdgeApi) -> None:
        self._api = api
        self.router = router = APIRouter()
        router.get("/audit")(self.entries)
        router.get("/audit/export", response_class=Response)(self.export)

    async def entries(
        self,
        viewer: WhoLooks,
        actor: Start = None,
        action: Start = None,
        object_: Annotated[str | None, Query(alias="object", max_length=512)] = None,
        since: datetime | None = None,
        cursor: Annotated[str | None, Query(max_length=2048)] = None,
    ) -> AuditPage:
        """List what was done and what was refused, the newest first."""
        await _check(viewer)
        return await self._page(actor, action, object_, since, cursor, 100)

    async def export(
        self,
        viewer: WhoLooks,
        kind: Annotated[Literal["csv", "json"], Query(alias="format")],
        actor: Start = None,
        action: Start = None,
        object_: Annotated[str | None, Query(alias="object", max_length=512)] = None,
        since: datetime | None = None,
    ) -> Response:
        """Return the same entries as a file, at most the latest 20,000."""
        await _check(viewer)
        entries: list[AuditEntry] = []
        cursor: str | None = None
        while len(entries) < EXPORT_MOST:
            page = await self._page(actor, action, object_, since, cursor, PAGE_MAX)
            entries += page.items
            cursor = page.next
            if cursor is None:
                break
        text = _csv(entries) if kind == "csv" else json.dumps([entry.model_dump(mode="json") for entry in entries])
        name = f"edge-audit-{datetime.now(UTC):%Y-%m-%d}.{kind}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(text, headers=headers, media_type="text/csv" if kind == "csv" else "application/json")

    async def _page(
        self,
        actor: str | None,
        action: str | None,
        object_: str | None,
        since: datetime | None,
        cursor: str | None,
        limit: int,
    ) -> AuditPage:
        moment = None if since is None else since.isoformat()
        conditions = {"actor": actor, "action": action, "object": object_, "since": moment}
        return await self._api.get(AuditPage, AUDIT_PATH, **conditions, cursor=cursor, limit=limit)


async def _check(viewer: Viewer) -> None:
    if not await viewer.may_audit():
        raise forbidden(
            "You may not read the audit trail: that needs the permission to read Airflow's audit log, for all teams."
        )


def _csv(entries: list[AuditEntry]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["id", "at", "actor", "action", "object", "detail"])
    for entry in entries:
        values = (entry.actor, entry.action, entry.object, json.dumps(entry.detail, ensure_ascii=False))
        rows.writerow([entry.id, entry.at.isoformat(), *(_cell(value) for value in values)])
    return text.getvalue()


def _cell(value: str) -> str:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
