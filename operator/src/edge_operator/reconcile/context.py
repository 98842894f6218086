"""What all reconcilers share: the clients, the caches and questions about them, and the writing of a status."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from edge_operator import metrics
from edge_operator.api import names
from edge_operator.api.conditions import WARNING_REASONS, Condition, transitions
from edge_operator.api.types import EdgeWorker, EdgeWorkerPool, Meta, Obj, read_pool, read_worker
from edge_operator.desired.deletion import Progress
from edge_operator.desired.fleet_changes import FleetChanges
from edge_operator.desired.observed_pod import ObservedPod, PodHistory, read_pod
from edge_operator.desired.worker_status import differs, minor
from edge_operator.desired.workload import PodDefaults
from edge_operator.fleet.admin_api import AdminApi
from edge_operator.fleet.observed import FleetState
from edge_operator.kube.cache import Cache
from edge_operator.kube.client import (
    CLAIMS,
    PODS,
    POOLS,
    SERVICE_ACCOUNTS,
    STATEFUL_SETS,
    WORKERS,
    KubeClient,
    NotFoundError,
    Resource,
    merge_patch,
)
from edge_operator.kube.events import EventRecorder
from edge_operator.reconcile.queue import Key, WorkQueue
from edge_operator.settings import OperatorSettings

WATCHED: dict[Resource, str | None] = {
    WORKERS: None,
    POOLS: None,
    STATEFUL_SETS: names.MANAGED_BY_SELECTOR,
    PODS: names.MANAGED_BY_SELECTOR,
    SERVICE_ACCOUNTS: names.MANAGED_BY_SELECTOR,
    CLAIMS: names.MANAGED_BY_SELECTOR,
}
"""The watched kinds, with their label selector. Secrets are not watched: the operator needs no right to list them."""

MIRROR = Key("Mirror", "", "")
"""The key of the pass over workers that enrolled without an EdgeWorker."""


@dataclass(slots=True)
class Memory:
    """What is known about one object until the operator restarts; losing it only costs a repeated call."""

    applied: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Per kind of child object: hash of what was applied, and the version that the apiserver gave it."""
    pods: PodHistory = field(default_factory=PodHistory)
    sent: tuple[FleetChanges, int] | None = None
    """The last changes sent to the edge API, and the revision of the view for which they were computed."""
    sent_at: float = 0.0
    status_written_at: float = 0.0
    deletion: Progress = field(default_factory=Progress)


@dataclass(slots=True)
class Context:
    """One per operator."""

    settings: OperatorSettings
    ca_bundle: str | None
    """PEM text of the CA certificates to trust for the edge API; None: those of the system."""
    kube: KubeClient
    cache: Cache
    events: EventRecorder
    admin_api: AdminApi
    fleet: FleetState
    queue: WorkQueue
    memories: dict[str, Memory] = field(default_factory=dict)
    claimed: dict[str, set[Key]] = field(default_factory=dict)
    """EdgeWorkers by the name of the worker that they claim."""
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the cache is complete, so what is missing in it does not exist."""
    relisted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a watch has restarted, so the cache may hold objects that no longer exist."""

    @property
    def pod_defaults(self) -> PodDefaults:
        """Return the operator's settings for pods."""
        settings = self.settings
        # The CA bundle belongs to the URL: a server at another URL may have a certificate of any other CA.
        ca_bundle = self.ca_bundle if settings.worker_api_url is None else None
        api_url = settings.worker_api_url or settings.api_url
        return PodDefaults(settings.worker_image, api_url, settings.stop_margin_s, ca_bundle)

    def memory(self, uid: str) -> Memory:
        """Return what is known about an object."""
        return self.memories.setdefault(uid, Memory())

    def worker(self, key: Key) -> EdgeWorker | None:
        """Return an EdgeWorker, or None."""
        obj = self.cache.get(WORKERS, key.namespace, key.name)
        return read_worker(obj) if obj is not None else None

    def workers(self) -> list[EdgeWorker]:
        """Return all EdgeWorkers."""
        return [read_worker(obj) for obj in self.cache.all(WORKERS)]

    def pool(self, key: Key) -> EdgeWorkerPool | None:
        """Return an EdgeWorkerPool, or None."""
        obj = self.cache.get(POOLS, key.namespace, key.name)
        return read_pool(obj) if obj is not None else None

    def stateful_set(self, worker: EdgeWorker) -> Obj | None:
        """Return the StatefulSet of a worker, or None."""
        found = self.cache.get(STATEFUL_SETS, worker.meta.namespace, worker.child_name)
        return found if found is not None and belongs_to(found, worker) else None

    def pods(self, worker: EdgeWorker) -> list[ObservedPod]:
        """Return the pods of a worker: its StatefulSet has at most one, with a known name."""
        pod = self.cache.get(PODS, worker.meta.namespace, f"{worker.child_name}-0")
        return [read_pod(pod)] if pod is not None else []

    def claims(self, worker_name: str) -> list[EdgeWorker]:
        """Return the EdgeWorkers that claim a worker of the fleet."""
        found = (self.worker(key) for key in self.claimed.get(worker_name, ()))
        return [worker for worker in found if worker is not None and worker.worker_name == worker_name]

    def index_claim(self, obj: Obj) -> None:
        """Update the index of claims with an EdgeWorker that is new, changed or gone."""
        worker = read_worker(obj)
        key = Key(names.WORKER_KIND, worker.meta.namespace, worker.meta.name)
        existing = self.worker(key)
        keys = self.claimed.setdefault(worker.worker_name, set())
        keys.discard(key)
        if existing is not None:
            self.claimed.setdefault(existing.worker_name, set()).add(key)
        if not self.claimed[worker.worker_name]:
            del self.claimed[worker.worker_name]

    def refusal(self, worker: EdgeWorker) -> str | None:
        """Return why the namespace of an EdgeWorker may not have its worker, or None."""
        bounds = self.settings.bounds_of(worker.meta.namespace)
        return bounds.worker_refusal(worker.worker_name, self.fleet.get(worker.worker_name))

    def owner(self, worker_name: str) -> EdgeWorker | None:
        """Return the EdgeWorker that a worker of the fleet belongs to; its namespace may have that worker."""
        return owner_of(worker for worker in self.claims(worker_name) if self.refusal(worker) is None)

    def owns_name(self, worker: EdgeWorker) -> bool:
        """Return whether the worker that an EdgeWorker names belongs to it; otherwise the fleet is left alone."""
        owner = self.owner(worker.worker_name)
        return owner is not None and owner.meta.uid == worker.meta.uid

    def fleet_fresh(self) -> bool:
        """Return whether the edge API answers, or has been silent only for a short time."""
        since = self.fleet.stale_since
        patience = timedelta(seconds=self.settings.api_patience_s)
        return self.fleet.ready.is_set() and (since is None or datetime.now(UTC) - since < patience)

    async def write_worker_status(self, worker: EdgeWorker, after: Obj) -> timedelta | None:
        """Write the status if it has changed; return the requeue delay for a change that is not worth a write yet."""
        memory = self.memory(worker.meta.uid)
        if not differs(worker.status, after, timedelta(seconds=self.settings.heartbeat_refresh_s)):
            return None
        rest = memory.status_written_at + self.settings.minor_interval_s - time.monotonic()
        if rest > 0 and minor(worker.status, after):
            return timedelta(seconds=rest)
        memory.status_written_at = time.monotonic()
        await self.write_status(WORKERS, worker.meta, worker.status, after)
        return None

    async def write_status(self, resource: Resource, meta: Meta, before: Obj, after: Obj) -> None:
        """Write a status and post the transitions of its conditions as Events."""
        patch = {"status": merge_patch(before, after), "metadata": {"uid": meta.uid}}
        try:
            written = await self.kube.merge(resource, meta.namespace, meta.name, patch, subresource="status")
        except NotFoundError:
            return
        self.cache.put(resource, written)
        metrics.STATUS_WRITES.labels(resource.kind).inc()
        for condition in transitions(before, after):
            if before.get("conditions") or condition["type"] == Condition.READY:
                warning = condition["reason"] in WARNING_REASONS and condition["status"] != "True"
                message = f"{condition['type']} is {condition['status']}: {condition['message']}"
                self.events.record(
                    resource.kind, meta, "Warning" if warning else "Normal", condition["reason"], message
                )


def belongs_to(obj: Obj, worker: EdgeWorker) -> bool:
    """Return whether an object was created for an EdgeWorker: it has its owner reference."""
    return any(owner.get("uid") == worker.meta.uid for owner in obj["metadata"].get("ownerReferences") or [])


def owner_of(claims: Iterable[EdgeWorker]) -> EdgeWorker | None:
    """Return the EdgeWorker that a worker belongs to, of those that claim its name.

    One that a person wrote takes precedence over one that the operator created, then the oldest one: the answer never
    depends on who asks and when.
    """
    return min(
        claims,
        key=lambda worker: (worker.discovered, worker.meta.created, worker.meta.namespace, worker.meta.name),
        default=None,
    )


def utc_now() -> datetime:
    """Return the time in whole seconds, as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)
