"""Bounds of a caller of the admin API: refusals of requests outside the credential's scope.

An object outside the scope is answered as one that does not exist, so that nobody learns of it; the audit trail shows
the difference. Values that a caller names itself (queues, patterns, teams) are refused openly.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from edge_api.admin.callers import Caller
from edge_api.errors import OutOfScopeError, RefusedError
from edge_protocol.admin import CredentialRequest, TokenRequest
from edge_store.identity.credentials import Granted
from edge_store.identity.scopes import Scope, lists

CODE: Final = "out_of_scope"

Request = TypeVar("Request", TokenRequest, CredentialRequest)

_HOW_TO_FIX: Final = "Leave it out, or ask an administrator of the whole fleet."


def describe(scope: Scope) -> str:
    """Return a scope in words."""
    parts = [
        None if scope.worker_pattern is None else f"workers {scope.worker_pattern}",
        None if scope.team is None else f"team {scope.team}",
        None if scope.queues is None else f"queues {', '.join(scope.queues)[:300]}",
        None if scope.connections is None else f"Connections {', '.join(scope.connections)[:300] or '(none)'}",
        None if scope.variables is None else f"Variables {', '.join(scope.variables)[:300] or '(none)'}",
    ]
    return ", ".join(part for part in parts if part is not None) or "the whole fleet"


def unknown(scope: Scope, code: str, what: str, *, exists: bool, hint: str = "") -> RefusedError:
    """Return the refusal (404) of an object that this caller can't see; `exists`: it exists outside the scope."""
    where = "" if scope.whole_fleet else f" in the scope of this credential ({describe(scope)})"
    kind = OutOfScopeError if exists and not scope.whole_fleet else RefusedError
    return kind(404, code, f"There is no {what}{where}.{hint}")


def check_queues(scope: Scope, queues: Sequence[str]) -> None:
    """Raise OutOfScopeError (403) unless all these queues are in the scope."""
    for queue in queues:
        if not scope.covers_queues([queue]):
            raise _refused(scope, f"The queue {queue} is outside it.")


def check_names(scope: Scope, kind: str, allowed: Sequence[str] | None, names: Sequence[str]) -> None:
    """Raise OutOfScopeError (403) unless all these names or patterns are among those that the scope may grant."""
    for name in names:
        if not lists(allowed, name):
            raise _refused(scope, f"The {kind} {name} is outside it.")


def grants_inside(caller: Caller, asked: Mapping[Granted, list[str] | None]) -> dict[Granted, list[str] | None]:
    """Return lists of what is to be granted, with None replaced by all that the caller may grant.

    Raises:
        OutOfScopeError: a list reaches beyond the scope (403).

    """
    scope = caller.scope
    check_queues(scope, asked.get("queues") or ())
    check_names(scope, "Connection", scope.connections, asked.get("connections") or ())
    check_names(scope, "Variable", scope.variables, asked.get("variables") or ())
    ours: dict[Granted, Sequence[str] | None] = {
        "queues": scope.queues,
        "connections": scope.connections,
        "variables": scope.variables,
    }
    granted = {name: ours[name] if names is None else names for name, names in asked.items()}
    return {name: None if names is None else list(names) for name, names in granted.items()}


def inside(caller: Caller, request: Request) -> Request:
    """Return a request with its open bounds set to those of the caller's scope.

    Raises:
        OutOfScopeError: a bound that is given reaches beyond the scope (403).

    """
    scope = caller.scope
    pattern = request.worker_pattern if "worker_pattern" in request.model_fields_set else None
    if pattern is not None and not scope.covers_name(pattern):
        raise _refused(scope, f"The pattern {pattern} may match other workers.")
    if request.team is not None and not scope.covers_team(request.team):
        raise _refused(scope, f"The team {request.team} is outside it.")
    grants = grants_inside(
        caller, {"queues": request.queues, "connections": request.connections, "variables": request.variables}
    )
    open_bounds = {"worker_pattern": (pattern, scope.worker_pattern), "team": (request.team, scope.team)}
    bound: dict[str, Any] = {
        name: ours for name, (asked, ours) in open_bounds.items() if asked is None and ours is not None
    }
    return request.model_copy(update=bound | dict[str, Any](grants.items()))


def check_on_behalf(caller: Caller, request: CredentialRequest) -> None:
    """Raise OutOfScopeError (403) unless the caller may create a credential that names the people behind its calls.

    Only an administrator of the whole fleet may: such a credential puts names into the audit trail.
    """
    if request.on_behalf and not caller.scope.whole:
        raise _refused(caller.scope, "It can't create a credential that calls on behalf of people.")


def _refused(scope: Scope, why: str) -> OutOfScopeError:
    return OutOfScopeError(403, CODE, f"This credential is for {describe(scope)}. {why} {_HOW_TO_FIX}")
