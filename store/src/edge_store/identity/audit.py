"""Statements on `edge.audit`: who did what, and who was refused. An action and its entry are one transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from edge_store.database.statement import Command, Statement
from edge_store.identity.scopes import WHOLE, Scope, of_audit
from edge_store.schema.tables import audit


@dataclass(frozen=True, slots=True)
class NewAudit:
    """One entry. `detail` must be JSON and must hold no secret."""

    actor: str
    action: str
    object: str
    detail: dict[str, Any] = field(default_factory=dict)


_ADD = text(
    """
    INSERT INTO edge.audit (actor, action, object, detail)
    SELECT actor, action, object, CAST(detail AS jsonb)
    FROM unnest(:actors, :actions, :objects, :details) AS a(actor, action, object, detail)
    """
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("actors", "actions", "objects", "details")))


def add(entries: Sequence[NewAudit]) -> Command:
    """Write entries."""
    executable = _ADD.bindparams(
        actors=[entry.actor for entry in entries],
        actions=[entry.action for entry in entries],
        objects=[entry.object for entry in entries],
        details=[json.dumps(entry.detail) for entry in entries],
    )
    return Command("audit_add", executable)


class AuditRow(NamedTuple):
    """An entry as stored."""

    id: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: dict[str, Any]


def entries(
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    object_: str | None = None,
    since: datetime | None = None,
    scope: Scope = WHOLE,
) -> Statement[AuditRow]:
    """Return entries, newest first, older than the id `before`. `actor` and `action` match as prefixes."""
    chosen = select(audit).where(of_audit(scope)).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(audit.c.id < before)
    if actor is not None:
        chosen = chosen.where(audit.c.actor.startswith(actor, autoescape=True))
    if action is not None:
        chosen = chosen.where(audit.c.action.startswith(action, autoescape=True))
    if object_ is not None:
        chosen = chosen.where(audit.c.object == object_)
    if since is not None:
        chosen = chosen.where(audit.c.at >= since)
    return Statement("audit_entries", chosen, AuditRow)
