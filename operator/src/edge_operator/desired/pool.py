"""What a pool does next: which EdgeWorkers to create, change and delete.

Names are the lowest free numbers, so an operator that died between two creations goes on where it was: a repeat hits a
name that exists. A worker that is being deleted keeps its number until it is gone.
"""

from dataclasses import dataclass, field

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason
from edge_operator.api.quantities import share
from edge_operator.api.types import EdgeWorker, EdgeWorkerPool, Obj, PoolSpec, Rollout, SpecError, WorkerSpec
from edge_operator.desired.children import owner_reference
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.workload import PodDefaults, pod_template
from edge_protocol.admin import WorkerView


def worker_spec(spec: PoolSpec, defaults: PodDefaults) -> Obj:
    """Return the spec of the pool's EdgeWorkers.

    The default image is written into it: when the operator's default changes, workers follow at the pool's pace.
    """
    made = dict(spec.template.spec) | {"mode": "Managed"}
    made["template"] = {"image": defaults.image} | dict(made.get("template") or {})
    return made


def member_object(pool: EdgeWorkerPool, spec: PoolSpec, name: str, defaults: PodDefaults) -> Obj:
    """Return an EdgeWorker of the pool."""
    metadata = {
        "name": name,
        "namespace": pool.meta.namespace,
        "labels": dict(spec.template.metadata.labels) | {names.POOL_LABEL: pool.meta.name},
        "annotations": dict(spec.template.metadata.annotations),
        "ownerReferences": [owner_reference(names.POOL_KIND, pool.meta)],
        # From the start: a worker that is deleted at once must be drained all the same.
        "finalizers": [names.FINALIZER],
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.WORKER_KIND,
        "metadata": metadata,
        "spec": worker_spec(spec, defaults),
    }


@dataclass(frozen=True, slots=True)
class Member:
    """One EdgeWorker of a pool."""

    name: str
    deleting: bool
    available: bool
    """It takes jobs, its status is about its present spec, and its pod is not being replaced."""
    fresh: bool
    """Its spec is the pool's."""
    stale: bool
    """Its pod has to be replaced to be the pool's."""
    failing: bool
    """It will not take jobs by waiting: its pod fails, or somebody put it into maintenance or shut it down."""
    slots_used: int
    slots_total: int


def read_member(worker: EdgeWorker, view: WorkerView | None, wanted: Obj, defaults: PodDefaults) -> Member:
    """Return what the plan needs of an EdgeWorker of the pool."""
    conditions = {condition["type"]: condition for condition in worker.status.get("conditions") or []}
    ready: Obj = conditions.get(Condition.READY) or {}
    going: Obj = conditions.get(Condition.PROGRESSING) or {}
    # A worker whose pod is on its way out may still be ready for a moment.
    staying = (
        worker.status.get("observedGeneration") == worker.meta.generation and going.get("reason") != Reason.ROLLING
    )
    want, have = WorkerSpec.model_validate(wanted), _spec_or_none(worker)
    there = view if live(view) else None
    cordoned = ready.get("reason") == Reason.CORDONED and there is not None and there.maintenance is not None
    return Member(
        name=worker.meta.name,
        deleting=worker.meta.deleted_at is not None,
        available=ready.get("status") == "True" and staying and there is not None,
        fresh=want == have,
        stale=have is not None and _hashes_differ(worker, want, have, defaults),
        failing=ready.get("reason") in (Reason.POD_FAILING, Reason.SHUT_DOWN) or cordoned,
        slots_used=there.slots_used if there is not None else 0,
        slots_total=there.concurrency if there is not None else 0,
    )


def _spec_or_none(worker: EdgeWorker) -> WorkerSpec | None:
    """Return the spec, or None for one that somebody made unusable: no pod was made from it."""
    try:
        return worker.spec()
    except SpecError:
        return None


def _hashes_differ(worker: EdgeWorker, want: WorkerSpec, have: WorkerSpec, defaults: PodDefaults) -> bool:
    hashes = {
        pod_template(worker, spec, defaults)["metadata"]["annotations"][names.HASH_ANNOTATION] for spec in (want, have)
    }
    return len(hashes) > 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of EdgeWorkers to create, to give the pool's spec, and to delete."""

    create: list[str] = field(default_factory=list)
    update: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Return whether nothing is to be done."""
        return not (self.create or self.update or self.delete)


def plan(pool: str, wanted: int, members: list[Member], rollout: Rollout) -> Plan:
    """Return the next changes for a pool that is to have `wanted` workers.

    A change that takes no restart goes to all workers at once. One that does replaces workers within the limits of the
    roll-out: first by workers on top (surge), which then take the place of old ones, else one by one in place. Workers
    that do not take jobs are replaced at any time, since that takes nothing away.
    """
    active = [member for member in members if not member.deleting]
    surge = share(rollout.max_surge, wanted, up=True)
    total = wanted + min(surge, sum(member.stale for member in active))

    create = _free_names(pool, {member.name for member in members}, total - len(active))
    delete = _victims(active, len(active) - total)
    staying = [member for member in active if member.name not in delete]
    update = [member.name for member in staying if not member.fresh and not member.stale]
    spare = _spare(rollout, wanted, staying)
    idle_first = sorted((member for member in staying if member.stale), key=_cost)
    if surge:
        delete += _allowed(idle_first, spare, max(len(staying) - wanted, 0))
    else:
        update += _allowed(idle_first, spare, len(idle_first))
    return Plan(create, update, delete)


def _spare(rollout: Rollout, wanted: int, staying: list[Member]) -> int:
    """Return how many workers that take jobs may be taken out of service now."""
    unavailable = share(rollout.max_unavailable, wanted, up=False)
    if unavailable == 0 and share(rollout.max_surge, wanted, up=True) == 0:
        # Percentages of a small pool round to nothing; something has to move.
        unavailable = 1
    available = sum(member.available for member in staying)
    return max(available - (wanted - unavailable), 0)


def _allowed(candidates: list[Member], spare: int, limit: int) -> list[str]:
    chosen: list[str] = []
    for member in candidates[:]:
        if len(chosen) >= limit:
            break
        if not member.available:
            chosen.append(member.name)
        elif spare > 0:
            chosen.append(member.name)
            spare -= 1
    return chosen


def _victims(active: list[Member], count: int) -> list[str]:
    return [member.name for member in sorted(active, key=_cost)[: max(count, 0)]]


def _cost(member: Member) -> tuple[int, bool, bool, int, str]:
    """Return what it costs to take a worker away: first its running tasks, then its use; the newest goes first."""
    return member.slots_used, member.available, not member.stale, -_number(member.name), member.name


def _number(name: str) -> int:
    tail = name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else -1


def _free_names(pool: str, taken: set[str], count: int) -> list[str]:
    free: list[str] = []
    number = 0
    while len(free) < count:
        name = f"{pool}-{number}"
        if name not in taken:
            free.append(name)
        number += 1
    return free
