"""Bounds of a namespace: which workers of the fleet its EdgeWorkers may have. The platform's administrator sets them.

The rule is that of a credential for a part of the fleet (ADR 0020): workers by name and team, and queues that may be
served. A limit that is not set is no limit.
"""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from edge_operator.api.types import WorkerSpec
from edge_protocol.admin import WorkerView
from edge_protocol.limits import QueueName, WorkerPattern

STAR = "*"


class NamespaceBounds(BaseModel):
    """One entry of the setting `namespace_bounds`."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    namespace: str = Field(min_length=1)
    worker_pattern: WorkerPattern | None = None
    """The only workers that EdgeWorkers may have: a name, or a prefix and `*`."""
    team: str | None = Field(default=None, min_length=1)
    """The only team of those workers; an EdgeWorker that states none gets this one."""
    queues: list[QueueName] | None = Field(default=None, min_length=1)
    """The only queues that they may serve; an EdgeWorker that states none gets these."""

    def worker_refusal(self, name: str, view: WorkerView | None) -> str | None:
        """Return why the namespace may not have a worker, or None; `view` is the worker if it is in the fleet.

        Without this, an EdgeWorker with a free choice of its name could drain or revoke a worker of others.
        """
        if self.worker_pattern is not None and not _covers(self.worker_pattern, name):
            return f"Worker {name}: namespace {self.namespace} may only have workers named {self.worker_pattern}."
        if self.team is not None and view is not None and view.team != self.team:
            return f"Worker {name}: namespace {self.namespace} may only have workers of team {self.team}."
        return None

    def spec_refusal(self, spec: WorkerSpec) -> str | None:
        """Return why the namespace may not have a worker with this spec, or None."""
        if self.team is not None and spec.team not in (None, self.team):
            return f"spec.team {spec.team}: namespace {self.namespace} may only have workers of team {self.team}."
        beyond = sorted(set(spec.queues or ()) - set(self.queues)) if self.queues is not None else []
        if beyond:
            allowed = ", ".join(self.queues or ())
            return f"spec.queues {', '.join(beyond)}: namespace {self.namespace} may only use the queues {allowed}."
        return None


class UnlistedNamespace(NamespaceBounds):
    """A namespace that has no bounds while others have: it may have no workers."""

    def worker_refusal(self, name: str, view: WorkerView | None) -> str:  # noqa: ARG002  (no worker is allowed)
        """Return that the namespace may have no worker."""
        return (
            f"Worker {name}: namespace {self.namespace} may have no workers, since the operator's namespace_bounds "
            "do not list it."
        )


def _covers(pattern: str, name: str) -> bool:
    return name.startswith(pattern.removesuffix(STAR)) if pattern.endswith(STAR) else name == pattern
