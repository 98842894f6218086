"""One pass over an EdgeWorkerPool: its desired number of workers, the next changes, its status."""

import time
from dataclasses import dataclass, field
from datetime import timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import EdgeWorkerPool, Obj, PoolSpec, SpecError, WorkerSpec, read_worker
from edge_operator.desired.autoscale import Load, Stabiliser, recommendation
from edge_operator.desired.pool import Member, Plan, member_name, member_object, plan, read_member, worker_spec
from edge_operator.desired.pool_status import invalid_pool_status, pool_status
from edge_operator.kube.client import POOLS, WORKERS, ConflictError, NotFoundError
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.queue import Key
from edge_protocol.admin import QueueView

DEFAULT_QUEUE = "default"
DEFAULT_CONCURRENCY = 8
"""Slots of a worker whose spec does not state them: the agent's own default."""


@dataclass(slots=True)
class PoolReconciler:
    """Keeps the state of autoscaling between passes: recommendations per pool, and the queues as last read."""

    context: Context
    queues: dict[str, QueueView] = field(default_factory=dict)
    queues_at: float | None = None
    """Monotonic time at which the queues were last read; None: never."""
    stabilisers: dict[str, Stabiliser] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Reconcile once; return the requeue delay, if any."""
        pool = self.context.pool(key)
        if pool is None or pool.meta.deleted_at is not None:
            # The garbage collector deletes the workers, and each of them drains.
            return None
        try:
            spec = pool.spec()
        except SpecError as error:
            await self._write_status(pool, invalid_pool_status(pool, Reason.INVALID_SPEC, f"spec.{error}", utc_now()))
            return None
        refusal = self._refusal(pool, spec)
        if refusal is not None:
            await self._write_status(pool, invalid_pool_status(pool, Reason.OUT_OF_BOUNDS, refusal, utc_now()))
            return None
        members = self._members(pool, spec)
        desired = self._desired_number(pool, spec, members)
        changes = plan(pool.meta.name, desired, members, spec.rollout)
        await self._carry_out(pool, spec, changes)
        before = pool.status.get("desiredReplicas")
        if before not in (None, desired):
            message = f"From {before} to {desired} workers."
            self.context.events.record(names.POOL_KIND, pool.meta, "Normal", Reason.SCALING, message)
        queued = self._queued(pool, spec) if spec.autoscaling is not None and self.queues_at is not None else None
        members = self._members(pool, spec)
        await self._write_status(pool, pool_status(pool, desired, members, changes, queued, utc_now()))
        return timedelta(seconds=self.context.settings.autoscale_s) if spec.autoscaling is not None else None

    async def _write_status(self, pool: EdgeWorkerPool, status: Obj) -> None:
        if status != pool.status:
            await self.context.write_status(POOLS, pool.meta, pool.status, status)

    def _members(self, pool: EdgeWorkerPool, spec: PoolSpec) -> list[Member]:
        defaults = self.context.pod_defaults
        desired_spec = worker_spec(spec, defaults)
        return [
            read_member(worker, self.context.fleet.get(worker.worker_name), desired_spec, defaults)
            for worker in self.context.workers()
            if worker.meta.owner_uid == pool.meta.uid
        ]

    def _desired_number(self, pool: EdgeWorkerPool, spec: PoolSpec, members: list[Member]) -> int:
        scaling = spec.autoscaling
        if scaling is None:
            self.stabilisers.pop(pool.meta.uid, None)
            return spec.replicas
        current = int(pool.status.get("desiredReplicas", min(spec.replicas, scaling.max_replicas)))
        if self.queues_at is None or self.context.fleet.stale_since is not None:
            # Without knowing the work the number stays.
            return min(max(current, scaling.min_replicas), scaling.max_replicas)
        active = [member for member in members if not member.deleting]
        load = Load(
            queued=self._queued(pool, spec),
            running=sum(member.slots_used for member in members),
            slots_per_worker=_slots_per_worker(spec, active),
        )
        # A worker that fails or is in maintenance takes no jobs, so another one replaces it.
        failing = sum(member.failing for member in active)
        recommended = min(recommendation(load, scaling) + failing, scaling.max_replicas)
        stabiliser = self.stabilisers.setdefault(pool.meta.uid, Stabiliser())
        return stabiliser.decide(recommended, current, scaling, time.monotonic())

    def _refusal(self, pool: EdgeWorkerPool, spec: PoolSpec) -> str | None:
        """Return why the namespace may not have the pool's workers, or None."""
        bounds = self.context.settings.bounds_of(pool.meta.namespace)
        first = member_name(pool.meta.name, 0)
        return bounds.worker_refusal(first, None) or bounds.spec_refusal(WorkerSpec.model_validate(spec.template.spec))

    def _queued(self, pool: EdgeWorkerPool, spec: PoolSpec) -> int:
        bounds = self.context.settings.bounds_of(pool.meta.namespace)
        served = WorkerSpec.model_validate(spec.template.spec).queues or bounds.queues or [DEFAULT_QUEUE]
        return sum(self.queues[queue].depth for queue in served if queue in self.queues)

    async def _carry_out(self, pool: EdgeWorkerPool, spec: PoolSpec, changes: Plan) -> None:
        context, namespace = self.context, pool.meta.namespace
        for name in changes.delete:
            known = context.cache.get(WORKERS, namespace, name)
            if known is not None:
                remaining = await context.kube.delete(WORKERS, namespace, name, known["metadata"]["uid"])
                if remaining is not None:
                    context.cache.put(WORKERS, remaining)
        for name in changes.update:
            known = context.cache.get(WORKERS, namespace, name)
            if known is not None:
                await self._update(known, worker_spec(spec, context.pod_defaults))
        for name in changes.create:
            await self._create(pool, member_object(pool, spec, name, context.pod_defaults))

    async def _update(self, known: Obj, spec: Obj) -> None:
        meta = known["metadata"]
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        try:
            updated = await self.context.kube.json_patch(WORKERS, meta["namespace"], meta["name"], operations)
        except NotFoundError:
            return
        self.context.cache.put(WORKERS, updated)

    async def _create(self, pool: EdgeWorkerPool, obj: Obj) -> None:
        try:
            self.context.cache.put(WORKERS, await self.context.kube.create(WORKERS, obj))
        except ConflictError:
            # Created before a restart of the operator, and not in the cache yet; or somebody else's.
            name = obj["metadata"]["name"]
            existing = await self.context.kube.find(WORKERS, pool.meta.namespace, name)
            if existing is not None:
                self.context.cache.put(WORKERS, existing)
                if read_worker(existing).meta.owner_uid != pool.meta.uid:
                    message = f"EdgeWorker {name} exists and does not belong to the pool; rename or delete it."
                    self.context.events.record(names.POOL_KIND, pool.meta, "Warning", Reason.NAME_TAKEN, message)


def _slots_per_worker(spec: PoolSpec, members: list[Member]) -> int:
    stated = WorkerSpec.model_validate(spec.template.spec).concurrency
    if stated is not None:
        return stated
    seen = [member.slots_total for member in members if member.slots_total]
    return round(sum(seen) / len(seen)) if seen else DEFAULT_CONCURRENCY
