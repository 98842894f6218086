"""Brings one EdgeWorkerPool up to date."""

import time
from dataclasses import dataclass, field
from datetime import timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Condition, Reason
from edge_operator.api.quantities import timestamp
from edge_operator.api.types import EdgeWorkerPool, Obj, PoolSpec, SpecError, WorkerSpec, read_worker
from edge_operator.desired.autoscale import Load, Stabiliser, recommendation
from edge_operator.desired.pool import Member, Plan, member_object, plan, read_member, worker_spec
from edge_operator.desired.worker_status import Verdict, with_times
from edge_operator.kube.errors import ConflictError, NotFoundError
from edge_operator.kube.resources import POOLS, WORKERS
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.status import write_status
from edge_protocol.admin import QueueView

DEFAULT_QUEUE = "default"
DEFAULT_CONCURRENCY = 8
"""Slots of a worker whose spec says nothing: the agent's own default."""


@dataclass(slots=True)
class PoolReconciler:
    """Keeps what is remembered of pools between passes: their recommendations, and the queues as last read."""

    context: Context
    queues: dict[str, QueueView] = field(default_factory=dict)
    queues_at: float | None = None
    """Monotonic time of the last look at the queues; None: never."""
    stabilisers: dict[str, Stabiliser] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Do what is to be done now; return when to look again even if nothing happens."""
        pool = self.context.pool(key)
        if pool is None or pool.meta.deleted_at is not None:
            # The garbage collector deletes the workers, and each of them drains.
            return None
        try:
            spec = pool.spec()
        except SpecError as error:
            await self._write_invalid(pool, f"spec.{error}")
            return None
        members = self._members(pool, spec)
        wanted = self._wanted(pool, spec, members)
        steps = plan(pool.meta.name, wanted, members, spec.rollout)
        await self._carry_out(pool, spec, steps)
        await self._write(pool, spec, wanted, self._members(pool, spec), steps)
        return timedelta(seconds=self.context.settings.autoscale_s) if spec.autoscaling is not None else None

    def _members(self, pool: EdgeWorkerPool, spec: PoolSpec) -> list[Member]:
        defaults = self.context.pod_defaults
        wanted = worker_spec(spec, defaults)
        workers = (read_worker(obj) for obj in self.context.cache.all(WORKERS))
        return [
            read_member(worker, self.context.state.get(worker.worker_name), wanted, defaults)
            for worker in workers
            if worker.meta.owner_uid == pool.meta.uid
        ]

    def _wanted(self, pool: EdgeWorkerPool, spec: PoolSpec, members: list[Member]) -> int:
        if spec.autoscaling is None:
            self.stabilisers.pop(pool.meta.uid, None)
            return spec.replicas
        current = int(pool.status.get("desiredReplicas", min(spec.replicas, spec.autoscaling.max_replicas)))
        if self.queues_at is None or self.context.state.stale_since is not None:
            # Without knowing the work nothing is decided.
            return min(max(current, spec.autoscaling.min_replicas), spec.autoscaling.max_replicas)
        active = [member for member in members if not member.deleting]
        load = Load(
            queued=sum(self.queues[queue].depth for queue in _queues(spec) if queue in self.queues),
            running=sum(member.slots_used for member in members),
            slots_per_worker=_slots_per_worker(spec, active),
        )
        # A worker that fails or is in maintenance takes no work, so another one has to.
        broken = sum(member.failing for member in active)
        asked = min(recommendation(load, spec.autoscaling) + broken, spec.autoscaling.max_replicas)
        stabiliser = self.stabilisers.setdefault(pool.meta.uid, Stabiliser())
        return stabiliser.settle(asked, current, spec.autoscaling, time.monotonic())

    async def _carry_out(self, pool: EdgeWorkerPool, spec: PoolSpec, steps: Plan) -> None:
        context, namespace = self.context, pool.meta.namespace
        for name in steps.delete:
            known = context.cache.get(WORKERS, namespace, name)
            if known is not None:
                left = await context.kube.delete(WORKERS, namespace, name, known["metadata"]["uid"])
                if left is not None:
                    context.cache.put(WORKERS, left)
        for name in steps.update:
            known = context.cache.get(WORKERS, namespace, name)
            if known is not None:
                await self._update(known, worker_spec(spec, context.pod_defaults))
        for name in steps.create:
            await self._create(pool, member_object(pool, spec, name, context.pod_defaults))

    async def _update(self, known: Obj, spec: Obj) -> None:
        meta = known["metadata"]
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        try:
            made = await self.context.kube.replace_fields(WORKERS, meta["namespace"], meta["name"], operations)
        except NotFoundError:
            return
        self.context.cache.put(WORKERS, made)

    async def _create(self, pool: EdgeWorkerPool, obj: Obj) -> None:
        try:
            self.context.cache.put(WORKERS, await self.context.kube.create(WORKERS, obj))
        except ConflictError:
            # From before a restart of the operator: the watch will tell of it. Or somebody else's.
            name = obj["metadata"]["name"]
            there = await self.context.kube.find(WORKERS, pool.meta.namespace, name)
            if there is not None:
                self.context.cache.put(WORKERS, there)
                if read_worker(there).meta.owner_uid != pool.meta.uid:
                    message = f"EdgeWorker {name} exists and does not belong to the pool; rename or delete it."
                    self.context.events.record(names.POOL_KIND, pool.meta, "Warning", Reason.NAME_TAKEN, message)

    async def _write(
        self, pool: EdgeWorkerPool, spec: PoolSpec, wanted: int, members: list[Member], steps: Plan
    ) -> None:
        active = [member for member in members if not member.deleting]
        ready = [member for member in active if member.available]
        used, total = sum(m.slots_used for m in ready), sum(m.slots_total for m in ready)
        now = utc_now()
        status: Obj = {
            "observedGeneration": pool.meta.generation,
            "selector": f"{names.POOL_LABEL}={pool.meta.name}",
            "desiredReplicas": wanted,
            "replicas": len(active),
            "readyReplicas": len(ready),
            "updatedReplicas": sum(member.fresh for member in active),
            "slotsUsed": used,
            "slotsTotal": total,
            "slots": f"{used}/{total}",
        }
        if spec.autoscaling is not None and self.queues_at is not None:
            status["queuedJobs"] = sum(self.queues[q].depth for q in _queues(spec) if q in self.queues)
        before = pool.status.get("desiredReplicas")
        changed = before is not None and before != wanted
        status["lastScaleTime"] = timestamp(now) if changed else pool.status.get("lastScaleTime")
        status = {key: value for key, value in status.items() if value is not None}
        moving = not steps.empty or len(members) != len(active) or len(active) != wanted
        rolling = any(not member.fresh for member in active)
        verdicts: dict[Condition, Verdict] = {
            Condition.READY: _ready(len(ready), wanted),
            Condition.PROGRESSING: _progress(moving=moving, rolling=rolling),
        }
        status["conditions"] = with_times(verdicts, pool.status.get("conditions") or [], pool.meta.generation, now)
        if changed:
            message = f"From {before} to {wanted} workers."
            self.context.events.record(names.POOL_KIND, pool.meta, "Normal", Reason.SCALING, message)
        if status != pool.status:
            await write_status(self.context, POOLS, pool.meta, pool.status, status)

    async def _write_invalid(self, pool: EdgeWorkerPool, message: str) -> None:
        verdicts: dict[Condition, Verdict] = {
            Condition.READY: ("False", Reason.INVALID_SPEC, message),
            Condition.PROGRESSING: ("False", Reason.BLOCKED, "The spec can't be carried out; see the condition Ready."),
        }
        conditions = with_times(verdicts, pool.status.get("conditions") or [], pool.meta.generation, utc_now())
        status = pool.status | {"observedGeneration": pool.meta.generation, "conditions": conditions}
        if status != pool.status:
            await write_status(self.context, POOLS, pool.meta, pool.status, status)


def _ready(ready: int, wanted: int) -> Verdict:
    if ready >= wanted:
        return "True", Reason.POOL_READY, f"{ready} of {wanted} workers take jobs."
    return "False", Reason.POOL_SHORT, f"{ready} of {wanted} workers take jobs."


def _progress(*, moving: bool, rolling: bool) -> Verdict:
    if rolling:
        return "True", Reason.ROLLING, "Workers are being brought to the present template."
    if moving:
        return "True", Reason.SCALING, "Workers are being added or drained."
    return "False", Reason.SETTLED, "All is as the spec wants it."


def _queues(spec: PoolSpec) -> list[str]:
    return WorkerSpec.model_validate(spec.template.spec).queues or [DEFAULT_QUEUE]


def _slots_per_worker(spec: PoolSpec, members: list[Member]) -> int:
    stated = WorkerSpec.model_validate(spec.template.spec).concurrency
    if stated is not None:
        return stated
    seen = [member.slots_total for member in members if member.slots_total]
    return round(sum(seen) / len(seen)) if seen else DEFAULT_CONCURRENCY
