"""Which EdgeWorker a worker of the fleet belongs to, and which workers have none yet."""

from collections.abc import Iterable

from edge_operator.api.types import EdgeWorker


def owner_of(claims: Iterable[EdgeWorker]) -> EdgeWorker | None:
    """Return the object that a worker belongs to, of those that claim its name.

    One that somebody wrote comes before one that the operator made, then the older one: the answer is the same whoever
    asks and whenever.
    """
    return min(
        claims,
        key=lambda worker: (worker.discovered, worker.meta.created, worker.meta.namespace, worker.meta.name),
        default=None,
    )
