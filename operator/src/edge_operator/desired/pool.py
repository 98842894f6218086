"""The next changes of a pool: which EdgeWorkers to create, update and delete.

Names use the lowest free numbers, so an operator that was killed between two creations continues where it stopped: a
repeated creation meets a name that exists. A worker that is being deleted keeps its number until it is gone.
"""

import math
from dataclasses import dataclass, field

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason
from edge_operator.api.types import EdgeWorker, EdgeWorkerPool, Obj, PoolSpec, Rollout, SpecError, WorkerSpec
from edge_operator.desired.fleet_changes import live
from edge_operator.desired.workload import PodDefaults, owner_reference, pod_template
from edge_protocol.admin import WorkerView


def worker_spec(spec: PoolSpec, defaults: PodDefaults) -> Obj:
    """Return the spec of the pool's EdgeWorkers.

    It contains the default image, so a new default of the operator is rolled out at the pool's pace.
    """
    member_spec = dict(spec.template.spec) | {"mode": "Managed"}
    member_spec["template"] = {"image": defaults.image} | dict(member_spec.get("template") or {})
    return member_spec


def member_name(pool: str, number: int) -> str:
    """Return the name of a worker of a pool."""
    return f"{pool}-{number}"


def member_object(pool: EdgeWorkerPool, spec: PoolSpec, name: str, defaults: PodDefaults) -> Obj:
    """Return an EdgeWorker of the pool."""
    metadata = {
        "name": name,
        "namespace": pool.meta.namespace,
        "labels": dict(spec.template.metadata.labels) | {names.POOL_LABEL: pool.meta.name},
        "annotations": dict(spec.template.metadata.annotations),
        "ownerReferences": [owner_reference(names.POOL_KIND, pool.meta)],
        # From the start: a worker must be drained even if it is deleted at once.
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
    """It takes jobs, its status is about its current spec, and its pod is not being replaced."""
    up_to_date: bool
    """Its spec is that of the pool."""
    needs_new_pod: bool
    """Its pod must be replaced to match the pool's template."""
    failing: bool
    """Waiting will not make it take jobs: its pod fails, or it is in maintenance or shut down."""
    slots_used: int
    slots_total: int


def read_member(worker: EdgeWorker, view: WorkerView | None, desired_spec: Obj, defaults: PodDefaults) -> Member:
    """Return the observed state of an EdgeWorker of the pool."""
    conditions = {condition["type"]: condition for condition in worker.status.get("conditions") or []}
    ready: Obj = conditions.get(Condition.READY) or {}
    progressing: Obj = conditions.get(Condition.PROGRESSING) or {}
    # A worker whose pod is being replaced may still be ready for a moment.
    staying = (
        worker.status.get("observedGeneration") == worker.meta.generation
        and progressing.get("reason") != Reason.ROLLING
    )
    desired, current = WorkerSpec.model_validate(desired_spec), _spec_or_none(worker)
    connected = view if live(view) else None
    cordoned = ready.get("reason") == Reason.CORDONED and connected is not None and connected.maintenance is not None
    return Member(
        name=worker.meta.name,
        deleting=worker.meta.deleted_at is not None,
        available=ready.get("status") == "True" and staying and connected is not None,
        up_to_date=desired == current,
        needs_new_pod=current is not None and _hashes_differ(worker, desired, current, defaults),
        failing=ready.get("reason") in (Reason.POD_FAILING, Reason.SHUT_DOWN) or cordoned,
        slots_used=connected.slots_used if connected is not None else 0,
        slots_total=connected.concurrency if connected is not None else 0,
    )


def _spec_or_none(worker: EdgeWorker) -> WorkerSpec | None:
    """Return the spec, or None if it is invalid: no pod was created from it."""
    try:
        return worker.spec()
    except SpecError:
        return None


def _hashes_differ(worker: EdgeWorker, desired: WorkerSpec, current: WorkerSpec, defaults: PodDefaults) -> bool:
    templates = [pod_template(worker, spec, defaults) for spec in (desired, current)]
    return len({template["metadata"]["annotations"][names.HASH_ANNOTATION] for template in templates}) > 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of EdgeWorkers to create, to update to the pool's spec, and to delete."""

    create: list[str] = field(default_factory=list)
    update: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to do."""
        return not (self.create or self.update or self.delete)


def plan(pool: str, desired: int, members: list[Member], rollout: Rollout) -> Plan:
    """Return the next changes for a pool that should have `desired` workers.

    A change that requires no restart goes to all workers at once. A change that requires one replaces workers within
    the limits of the rollout: with a surge, additional workers take the place of old ones; without, workers are updated
    in place. Workers that take no jobs can be replaced at any time.
    """
    active = [member for member in members if not member.deleting]
    surge = _share(rollout.max_surge, desired, up=True)
    total = desired + min(surge, sum(member.needs_new_pod for member in active))

    create = _free_names(pool, {member.name for member in members}, total - len(active))
    delete = _victims(active, len(active) - total)
    staying = [member for member in active if member.name not in delete]
    update = [member.name for member in staying if not member.up_to_date and not member.needs_new_pod]
    spare = _spare(rollout, desired, staying)
    idle_first = sorted((member for member in staying if member.needs_new_pod), key=_cost)
    if surge:
        delete += _allowed(idle_first, spare, max(len(staying) - desired, 0))
    else:
        update += _allowed(idle_first, spare, len(idle_first))
    return Plan(create, update, delete)


def _spare(rollout: Rollout, desired: int, staying: list[Member]) -> int:
    """Return how many available workers may be taken out of service now."""
    unavailable = _share(rollout.max_unavailable, desired, up=False)
    if unavailable == 0 and _share(rollout.max_surge, desired, up=True) == 0:
        # Percentages of a small pool round down to zero, but the rollout must make progress.
        unavailable = 1
    available = sum(member.available for member in staying)
    return max(available - (desired - unavailable), 0)


def _share(value: int | str, total: int, *, up: bool) -> int:
    """Return a number that is given as such or as a percentage of `total`, rounded up or down."""
    if isinstance(value, int):
        return value
    part = int(value.rstrip("%")) * total / 100
    return math.ceil(part) if up else math.floor(part)


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
    """Return the cost of removing a worker: running tasks first, then availability; the newest is the cheapest."""
    return member.slots_used, member.available, not member.needs_new_pod, -_number(member.name), member.name


def _number(name: str) -> int:
    tail = name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else -1


def _free_names(pool: str, taken: set[str], count: int) -> list[str]:
    free: list[str] = []
    number = 0
    while len(free) < count:
        name = member_name(pool, number)
        if name not in taken:
            free.append(name)
        number += 1
    return free
