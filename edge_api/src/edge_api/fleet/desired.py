"""What is desired of a worker, and what follows from it for its queues and slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row

from edge_protocol.frames import DesiredFrame

DEFAULT_QUEUES: Final = ("default",)
"""For a worker that names none and whose credential grants any; Airflow's own default queue."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """A row of `edge.worker_desired`."""

    version: int = 0
    maintenance: bool = False
    maintenance_comment: str | None = None
    maintenance_by: str | None = None
    shutdown: bool = False
    concurrency: int | None = None
    queues_added: tuple[str, ...] = ()
    queues_removed: tuple[str, ...] = ()

    @classmethod
    def of_row(cls, row: Row[Any]) -> "Wishes":
        """Read a row that has the columns of `edge.worker_desired`."""
        return cls(
            version=row.version,
            maintenance=row.maintenance,
            maintenance_comment=row.maintenance_comment,
            maintenance_by=row.maintenance_by,
            shutdown=row.shutdown,
            concurrency=row.concurrency,
            queues_added=tuple(row.queues_added),
            queues_removed=tuple(row.queues_removed),
        )

    @property
    def cordoned(self) -> bool:
        """Whether the worker is to get no job."""
        return self.maintenance or self.shutdown

    def frame(self, queues: Iterable[str], concurrency: int) -> DesiredFrame:
        """Return what the worker is told."""
        return DesiredFrame(
            version=self.version,
            maintenance=self.maintenance,
            maintenance_comment=self.maintenance_comment,
            maintenance_by=self.maintenance_by,
            shutdown=self.shutdown,
            queues=sorted(queues),
            concurrency=concurrency,
        )


def effective_queues(asked: Sequence[str] | None, granted: Sequence[str] | None, wishes: Wishes) -> frozenset[str]:
    """Return the queues that a worker serves.

    What it asks for, as far as its credential grants it; plus what an administrator added, which is a grant of its own;
    less what an administrator removed.
    """
    base = asked if asked is not None else (granted if granted is not None else DEFAULT_QUEUES)
    allowed = set(base) if granted is None else set(base) & set(granted)
    return frozenset((allowed | set(wishes.queues_added)) - set(wishes.queues_removed))


def effective_concurrency(asked: int, wishes: Wishes) -> int:
    """Return the slots that a worker has."""
    return asked if wishes.concurrency is None else wishes.concurrency
