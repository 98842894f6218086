"""Undo a change in memory when a session that somebody else owns is rolled back.

The executor writes a job with the scheduler's session and counts it as running at once. Whether the job exists is known
only when the scheduler commits; a rollback, of the whole transaction or of a savepoint, must undo the count.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_INFO_KEY = "airflow_edge_rollback"


@dataclass(eq=False)
class _Steps:
    """Steps to undo, each with the transaction or savepoint that it belongs to."""

    steps: list[tuple[SessionTransaction | None, Callable[[], None]]] = field(default_factory=list)

    def committed(self, session: Session) -> None:
        if not session.in_nested_transaction():  # a released savepoint can still be rolled back with its parent
            self.steps.clear()

    def rolled_back(self, _session: Session, ended: SessionTransaction) -> None:
        self._undo(ended)

    def ended(self, _session: Session, ended: SessionTransaction) -> None:
        if ended.parent is None:  # closed without a commit, which rolls back too
            self._undo(ended)

    def _undo(self, ended: SessionTransaction) -> None:
        inside = [step for step in self.steps if _is_inside(step[0], ended)]
        self.steps = [step for step in self.steps if step not in inside]
        for _, undo in reversed(inside):
            undo()


def _is_inside(transaction: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is outer:
            return True
        transaction = transaction.parent
    return False


def on_rollback(session: Session, undo: Callable[[], None]) -> None:
    """Call `undo` if the session's current transaction or savepoint is rolled back; forget it after the commit."""
    steps: _Steps | None = session.info.get(_INFO_KEY)
    if steps is None:
        steps = session.info[_INFO_KEY] = _Steps()
        event.listen(session, "after_commit", steps.committed)
        event.listen(session, "after_soft_rollback", steps.rolled_back)
        event.listen(session, "after_transaction_end", steps.ended)
    steps.steps.append((session.get_nested_transaction() or session.get_transaction(), undo))
