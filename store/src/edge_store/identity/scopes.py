"""Scopes: the part of the fleet that a credential of role admin or read may see and change, and what it may grant.

One rule, as predicates in Python and as conditions of statements. The pattern of a scope is a worker's name, or a
prefix and a star. Such a pattern covers another pattern, even any glob, exactly if the other text starts with the
prefix, since no metacharacter is part of a worker's name. So globs never have to be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, cast, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import ColumnCollection
from sqlalchemy.types import Text

from edge_store.schema.tables import audit, credential, job, join_token, worker, worker_event

STAR: Final = "*"


def covers(pattern: str, name_or_pattern: str) -> bool:
    """Return whether a pattern, a name or a prefix and a star, matches a name, or every name of another pattern."""
    if pattern.endswith(STAR):
        return name_or_pattern.startswith(pattern.removesuffix(STAR))
    return name_or_pattern == pattern


def lists(allowed: Sequence[str] | None, name_or_pattern: str) -> bool:
    """Return whether a list of patterns (None: no limit) covers a name or another pattern."""
    return allowed is None or any(covers(pattern, name_or_pattern) for pattern in allowed)


@dataclass(frozen=True, slots=True)
class Scope:
    """Limits of a credential; None: no limit of that kind."""

    worker_pattern: str | None = None
    team: str | None = None
    queues: tuple[str, ...] | None = None
    connections: tuple[str, ...] | None = None
    """Connections that it may grant to workers: names, or prefixes and a star."""
    variables: tuple[str, ...] | None = None
    """Variables, in the same way."""

    @property
    def whole(self) -> bool:
        """Whether there is no limit at all."""
        return self == WHOLE

    @property
    def whole_fleet(self) -> bool:
        """Whether it has all workers and queues, whatever Connections and Variables it may grant."""
        return (self.worker_pattern, self.team, self.queues) == (None, None, None)

    def covers_name(self, name_or_pattern: str) -> bool:
        """Return whether a worker's name, or every name that a glob matches, is in the scope."""
        return self.worker_pattern is None or covers(self.worker_pattern, name_or_pattern)

    def covers_team(self, team: str | None) -> bool:
        """Return whether a team is in the scope."""
        return self.team is None or team == self.team

    def covers_queues(self, queues: Sequence[str] | None) -> bool:
        """Return whether all these queues (None: any queue) are in the scope."""
        return self.queues is None or (queues is not None and set(queues) <= set(self.queues))

    def covers_worker(self, name: str, team: str | None) -> bool:
        """Return whether a worker is in the scope. Queues limit its jobs, not whether it is visible."""
        return self.covers_name(name) and self.covers_team(team)


WHOLE: Final = Scope()
"""The whole fleet."""


def _names(scope: Scope, column: ColumnElement[Any], before: str = "") -> ColumnElement[bool]:
    """Return the condition that a column's text, without its prefix `before`, is a name or pattern in the scope."""
    if scope.worker_pattern is None:
        return true() if not before else func.starts_with(column, before)
    if scope.worker_pattern.endswith(STAR):
        return func.starts_with(column, before + scope.worker_pattern.removesuffix(STAR))
    return column == before + scope.worker_pattern


def _team(scope: Scope, column: ColumnElement[Any]) -> ColumnElement[bool]:
    return true() if scope.team is None else column == scope.team


def _grants(scope: Scope, columns: ColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Return the condition that a row's pattern, team and queues are inside the scope.

    Names of Connections and Variables are not compared: they limit what can be granted, not what is visible.
    """
    queues: ColumnElement[bool] = true()
    if scope.queues is not None:
        queues = columns.queues.contained_by(cast(list(scope.queues), ARRAY(Text)))
    pattern = true() if scope.worker_pattern is None else _names(scope, columns.worker_pattern)
    return and_(pattern, _team(scope, columns.team), queues)


def of_workers(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.worker`."""
    return and_(_names(scope, worker.c.name), _team(scope, worker.c.team))


def of_jobs(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.job`: held by a worker of the scope, or waiting in one of its queues.

    A job of such a queue that a worker outside the scope holds is invisible: it would reveal that worker.
    """
    waiting: ColumnElement[bool] = job.c.worker_name.is_(None)
    if scope.queues is not None:
        waiting = and_(waiting, job.c.queue.in_(scope.queues))
    held = true() if scope.worker_pattern is None else _names(scope, job.c.worker_name)
    return and_(or_(waiting, and_(job.c.worker_name.is_not(None), held)), _team(scope, job.c.team))


def of_join_tokens(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.join_token`: it grants nothing beyond the scope."""
    return _grants(scope, join_token.c)


def of_credentials(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.credential`: held by a worker of the scope, or within the scope."""
    if scope.whole_fleet:
        return true()
    of_worker = and_(
        credential.c.role == "worker", _names(scope, credential.c.worker_name), _team(scope, credential.c.team)
    )
    return or_(of_worker, and_(credential.c.role != "worker", _grants(scope, credential.c)))


def of_worker_events(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.worker_event`: of a worker that was in the scope at that time."""
    return and_(_names(scope, worker_event.c.worker_name), _team(scope, worker_event.c.team))


def of_audit(scope: Scope) -> ColumnElement[bool]:
    """Return the condition on `edge.audit`: about a worker of the scope.

    Entries have no team. Credentials show which names belong to the team; they are kept longer than the worker.
    """
    if scope.whole_fleet:
        return true()
    about = literal("worker/", Text)
    names = _names(scope, audit.c.object, "worker/")
    if scope.team is None:
        return names
    its = select(about + credential.c.worker_name).where(credential.c.role == "worker", _team(scope, credential.c.team))
    others = select(about + worker.c.name).where(worker.c.team.is_distinct_from(scope.team))
    return and_(names, audit.c.object.in_(its), audit.c.object.not_in(others))
