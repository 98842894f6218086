"""Bounds of a caller of the admin API: refusals of requests outside the credential's scope.

An object outside the scope is answered as one that does not exist, so that nobody learns of it; the audit trail shows
the difference. Values that a caller names itself (queues, patterns, teams) are refused openly.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

from edge_api.admin.callers import Caller
from edge_api.errors import OutOfScopeError, RefusedError
from edge_protocol.admin import CredentialRequest, TokenRequest
from edge_store.identity.scopes import Scope

CODE: Final = "out_of_scope"

Request = TypeVar("Request", TokenRequest, CredentialRequest)

_HOW_TO_FIX: Final = "Leave it out, or ask an administrator of the whole fleet."


def describe(scope: Scope) -> str:
    """Return a scope in words."""
    parts = [
        None if scope.worker_pattern is None else f"workers {scope.worker_pattern}",
        None if scope.team is None else f"team {scope.team}",
        None if scope.queues is None else f"queues {', '.join(scope.queues)[:300]}",
    ]
    return ", ".join(part for part in parts if part is not None) or "the whole fleet"


def unknown(scope: Scope, code: str, what: str, *, exists: bool, hint: str = "") -> RefusedError:
    """Return the refusal (404) of an object that this caller can't see; `exists`: it exists outside the scope."""
    where = "" if scope.whole else f" in the scope of this credential ({describe(scope)})"
    kind = OutOfScopeError if exists and not scope.whole else RefusedError
    return kind(404, code, f"There is no {what}{where}.{hint}")


def check_queues(scope: Scope, queues: Sequence[str]) -> None:
    """Raise OutOfScopeError (403) unless all these queues are in the scope."""
    for queue in queues:
        if not scope.covers_queues([queue]):
            raise _refused(scope, f"The queue {queue} is outside it.")


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
    check_queues(scope, request.queues or ())
    open_bounds = {
        "worker_pattern": (pattern, scope.worker_pattern),
        "team": (request.team, scope.team),
        "queues": (request.queues, None if scope.queues is None else list(scope.queues)),
    }
    bound = {name: ours for name, (asked, ours) in open_bounds.items() if asked is None and ours is not None}
    return request.model_copy(update=bound)


def check_on_behalf(caller: Caller, request: CredentialRequest) -> None:
    """Raise OutOfScopeError (403) unless the caller may create a credential that names the people behind its calls.

    Only an administrator of the whole fleet may: such a credential puts names into the audit trail.
    """
    if request.on_behalf and not caller.scope.whole:
        raise _refused(caller.scope, "It can't create a credential that calls on behalf of people.")


def _refused(scope: Scope, why: str) -> OutOfScopeError:
    return OutOfScopeError(403, CODE, f"This credential is for {describe(scope)}. {why} {_HOW_TO_FIX}")
