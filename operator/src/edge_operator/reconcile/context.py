"""What all reconcilers share, and the questions that they ask of caches."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from edge_operator.api import names
from edge_operator.api.types import EdgeWorker, EdgeWorkerPool, Obj, read_pool, read_worker
from edge_operator.desired.claims import owner_of
from edge_operator.desired.deletion import Progress
from edge_operator.desired.fleet_changes import Wishes
from edge_operator.desired.observed_pod import PodView, read_pod
from edge_operator.desired.workload import PodDefaults
from edge_operator.fleet.admin_api import FleetHttp
from edge_operator.fleet.client import FleetClient
from edge_operator.fleet.state import FleetState
from edge_operator.kube.cache import Cache
from edge_operator.kube.client import KubeClient
from edge_operator.kube.events import EventRecorder
from edge_operator.kube.resources import CLAIMS, PODS, POOLS, SERVICE_ACCOUNTS, STATEFUL_SETS, WORKERS, Resource
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
"""What is watched, by label. Secrets are not: nobody needs to be able to list them."""

MIRROR = Key("Mirror", "", "")
"""The key of the work on workers that enrolled by themselves."""


@dataclass(slots=True)
class Memory:
    """What is known about one object until the operator restarts; losing it costs a repeated call, no more."""

    applied: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Per kind of child: hash of what was applied, and the generation that the apiserver gave it."""
    pod_uid: str | None = None
    """The worker's pod as last seen."""
    departed_revision: int = -1
    """Revision of the worker's view when its pod was gone: what is told up to there is about a pod of the past."""
    sent: tuple[Wishes, int] | None = None
    """The last calls to the edge API and the revision of the view that they were made for."""
    sent_at: float = 0.0
    status_written_at: float = 0.0
    deletion: Progress = field(default_factory=Progress)


@dataclass(slots=True)
class Context:
    """One per operator."""

    settings: OperatorSettings
    authorities: str | None
    """PEM text of the authorities to trust for the edge API; None: those of the system."""
    kube: KubeClient
    cache: Cache
    events: EventRecorder
    http: FleetHttp
    fleet: FleetClient
    state: FleetState
    queue: WorkQueue
    memories: dict[str, Memory] = field(default_factory=dict)
    claimed: dict[str, set[Key]] = field(default_factory=dict)
    """EdgeWorkers by the name of the worker that they claim."""
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    """The caches hold everything that there is, so what is missing there is missing."""
    relisted: asyncio.Event = field(default_factory=asyncio.Event)
    """A watch has begun anew, so the caches may hold what is gone."""

    @property
    def pod_defaults(self) -> PodDefaults:
        """Return what the settings say about pods."""
        settings = self.settings
        # Who is to be trusted goes with the URL: another one may have a certificate of anybody.
        authorities = self.authorities if settings.worker_api_url is None else None
        api_url = settings.worker_api_url or settings.api_url
        return PodDefaults(settings.worker_image, api_url, settings.stop_margin_s, authorities)

    def memory(self, uid: str) -> Memory:
        """Return what is known about an object."""
        return self.memories.setdefault(uid, Memory())

    def worker(self, key: Key) -> EdgeWorker | None:
        """Return an EdgeWorker."""
        obj = self.cache.get(WORKERS, key.namespace, key.name)
        return read_worker(obj) if obj is not None else None

    def workers(self) -> list[EdgeWorker]:
        """Return all EdgeWorkers."""
        return [read_worker(obj) for obj in self.cache.all(WORKERS)]

    def pool(self, key: Key) -> EdgeWorkerPool | None:
        """Return an EdgeWorkerPool."""
        obj = self.cache.get(POOLS, key.namespace, key.name)
        return read_pool(obj) if obj is not None else None

    def stateful_set(self, worker: EdgeWorker) -> Obj | None:
        """Return the StatefulSet of a worker, whoever owns it."""
        return self.cache.get(STATEFUL_SETS, worker.meta.namespace, worker.child_name)

    def pods(self, worker: EdgeWorker) -> list[PodView]:
        """Return the pods of a worker. A StatefulSet of one replica has one, by a name that is known."""
        pod = self.cache.get(PODS, worker.meta.namespace, f"{worker.child_name}-0")
        return [read_pod(pod)] if pod is not None else []

    def claims(self, worker_name: str) -> list[EdgeWorker]:
        """Return the EdgeWorkers that claim a worker of the fleet."""
        found = (self.worker(key) for key in self.claimed.get(worker_name, ()))
        return [worker for worker in found if worker is not None]

    def note_claim(self, obj: Obj) -> None:
        """Keep the index of claims up to date with an EdgeWorker that is new, changed or gone."""
        worker = read_worker(obj)
        key = Key(names.WORKER_KIND, worker.meta.namespace, worker.meta.name)
        there = self.worker(key)
        keys = self.claimed.setdefault(worker.worker_name, set())
        keys.discard(key)
        if there is not None:
            self.claimed.setdefault(there.worker_name, set()).add(key)
        if not self.claimed[worker.worker_name]:
            del self.claimed[worker.worker_name]

    def owner(self, worker_name: str) -> EdgeWorker | None:
        """Return the EdgeWorker that a worker of the fleet belongs to."""
        return owner_of(self.claims(worker_name))

    def fleet_fresh(self) -> bool:
        """Return whether what is known of the fleet may be shown as true."""
        since = self.state.stale_since
        patience = timedelta(seconds=self.settings.api_patience_s)
        return self.state.ready.is_set() and (since is None or datetime.now(UTC) - since < patience)


def utc_now() -> datetime:
    """Return the time, without what Kubernetes does not write."""
    return datetime.now(UTC).replace(microsecond=0)
