"""The desired state of a worker, and the queues and slots that follow from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edge_protocol.frames import DesiredFrame
from edge_store.workers.agents import DesiredRow

DEFAULT_QUEUES: Final = ("default",)
"""For a worker that names no queue and whose credential grants any; Airflow's own default queue."""


@dataclass(frozen=True, slots=True)
class DesiredState:
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
    def of_row(cls, row: DesiredRow) -> "DesiredState":
        """Read a row."""
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
        """Whether the worker is given no jobs."""
        return self.maintenance or self.shutdown

    def frame(self, queues: Iterable[str], concurrency: int) -> DesiredFrame:
        """Return the frame that is sent to the worker."""
        return DesiredFrame(
            version=self.version,
            maintenance=self.maintenance,
            maintenance_comment=self.maintenance_comment,
            maintenance_by=self.maintenance_by,
            shutdown=self.shutdown,
            queues=sorted(queues),
            concurrency=concurrency,
        )


def effective_queues(
    asked: Sequence[str] | None, granted: Sequence[str] | None, desired: DesiredState
) -> frozenset[str]:
    """Return the queues that a worker serves.

    These are the queues that it asks for and that its credential grants, plus those that an administrator added (which
    need no other grant), minus those that an administrator removed.
    """
    base = asked if asked is not None else (granted if granted is not None else DEFAULT_QUEUES)
    allowed = set(base) if granted is None else set(base) & set(granted)
    return frozenset((allowed | set(desired.queues_added)) - set(desired.queues_removed))


def effective_concurrency(asked: int, desired: DesiredState) -> int:
    """Return the slots that a worker has."""
    return asked if desired.concurrency is None else desired.concurrency
