"""Decides which objects need a pass, runs the passes, and repeats failed ones with backoff."""

import asyncio
import contextlib
import logging
import time
from datetime import timedelta

from edge_operator import metrics
from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.fleet.admin_api import FleetError
from edge_operator.kube.client import POOLS, WORKERS, ConflictError, KubeError, Resource
from edge_operator.reconcile.context import MIRROR, WATCHED, Context
from edge_operator.reconcile.mirror import reconcile_mirror
from edge_operator.reconcile.pool import PoolReconciler
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.worker import reconcile_worker

log = logging.getLogger(__name__)

OBJECT_TIMEOUT_S = 120.0
"""Seconds for one pass over one object; every call in it has its own, shorter timeout."""
FLEET_WAIT_S = 5.0
"""Seconds to wait at the start for the fleet, before passes start without it."""
RELIST_SETTLE_S = 1.0
"""Seconds from the first watch that restarted to the full pass: the other watches usually restart too."""


class Controller:
    """Everything that only the leader does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pools = PoolReconciler(context)
        self._was_fresh = False
        context.cache.on_change(self.object_changed)
        context.fleet.on_change(self.fleet_changed)

    def object_changed(self, resource: Resource, obj: Obj) -> None:
        """Request the passes that a changed object requires."""
        meta = obj["metadata"]
        if resource is WORKERS:
            self._context.index_claim(obj)
            self._add(names.WORKER_KIND, meta)
            self._add_owner(names.POOL_KIND, meta)
            if names.DISCOVERED_LABEL in (meta.get("labels") or {}):
                self._context.queue.add(MIRROR)
        elif resource is POOLS:
            self._add(names.POOL_KIND, meta)
        else:
            self._add_owner(names.WORKER_KIND, meta)
            owner = (meta.get("annotations") or {}).get(names.OBJECT_ANNOTATION)
            if owner:
                self._context.queue.add(Key(names.WORKER_KIND, meta["namespace"], owner))

    def fleet_changed(self, name: str) -> None:
        """Request the passes that a changed worker of the fleet requires."""
        claims = self._context.claims(name)
        for worker in claims:
            self._context.queue.add(Key(names.WORKER_KIND, worker.meta.namespace, worker.meta.name))
            if worker.pool:
                self._context.queue.add_later(Key(names.POOL_KIND, worker.meta.namespace, worker.pool), 1.0)
        if self._context.owner(name) is None or self._context.fleet.get(name) is None:
            self._context.queue.add(MIRROR)

    async def work(self) -> None:
        """Run passes until cancelled, once the cache is complete."""
        queue = self._context.queue
        await self._context.synced.wait()
        with contextlib.suppress(TimeoutError):
            # Otherwise every status would claim at each start that the edge API does not answer.
            async with asyncio.timeout(FLEET_WAIT_S):
                await self._context.fleet.ready.wait()
        while True:
            key = await queue.get()
            try:
                await self._run_pass(key)
            finally:
                queue.done(key)

    async def _run_pass(self, key: Key) -> None:
        queue, started = self._context.queue, time.monotonic()
        try:
            async with asyncio.timeout(OBJECT_TIMEOUT_S):
                requeue = await self._reconcile(key)
        except (KubeError, FleetError, TimeoutError) as error:
            delay = queue.failed(key)
            metrics.RECONCILE_ERRORS.labels(key.kind, type(error).__name__).inc()
            level = logging.DEBUG if isinstance(error, ConflictError) else logging.WARNING
            log.log(level, "%s %s/%s: %s; retry in %.1f s", key.kind, key.namespace, key.name, error, delay)
        except Exception:
            # A bug that one object triggers must not stop the passes over all others.
            delay = queue.failed(key)
            metrics.RECONCILE_ERRORS.labels(key.kind, "bug").inc()
            log.exception(
                "%s %s/%s: a mistake in the operator; retry in %.1f s", key.kind, key.namespace, key.name, delay
            )
        else:
            queue.succeeded(key)
            if requeue is not None:
                queue.add_later(key, requeue.total_seconds())
        metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)

    async def _reconcile(self, key: Key) -> timedelta | None:
        if key.kind == names.WORKER_KIND:
            return await reconcile_worker(self._context, key)
        if key.kind == names.POOL_KIND:
            return await self._pools.reconcile(key)
        return await reconcile_mirror(self._context)

    async def resync(self) -> None:
        """Re-read everything at once, then from time to time, and whenever a watch has restarted."""
        while True:
            try:
                await self._read_all()
            except KubeError as error:
                log.warning("the full pass failed and is repeated: %s", error)
                await asyncio.sleep(2.0)
                continue
            self._enqueue_all()
            self._context.synced.set()
            self._forget()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.settings.resync_s):
                    await self._context.relisted.wait()
                    await asyncio.sleep(RELIST_SETTLE_S)
            self._context.relisted.clear()

    async def watch_fleet(self) -> None:
        """Request all passes when the edge API becomes (un)reachable; read the queues while a pool is autoscaled."""
        await self._context.synced.wait()
        while True:
            fresh = self._context.fleet_fresh()
            if fresh != self._was_fresh:
                self._was_fresh = fresh
                self._enqueue_all()
            self._update_gauges()
            if any((obj.get("spec") or {}).get("autoscaling") for obj in self._context.cache.all(POOLS)):
                await self._read_queues()
            await asyncio.sleep(min(self._context.settings.autoscale_s, 2.0))

    async def _read_queues(self) -> None:
        try:
            views = await self._context.admin_api.queues()
        except FleetError as error:
            log.info("the queues could not be read: %s", error)
            return
        self._pools.queues = {view.queue: view for view in views}
        self._pools.queues_at = time.monotonic()

    async def _read_all(self) -> None:
        context = self._context
        for resource, selector in WATCHED.items():
            known = context.cache.names(resource)
            found = [
                obj for scope in context.settings.scopes for obj in await context.kube.list(resource, scope, selector)
            ]
            context.cache.replace(resource, found, known)

    def _enqueue_all(self) -> None:
        for resource in (WORKERS, POOLS):
            for obj in self._context.cache.all(resource):
                self._add(resource.kind, obj["metadata"])
        self._context.queue.add(MIRROR)

    def _add(self, kind: str, meta: Obj) -> None:
        self._context.queue.add(Key(kind, meta["namespace"], meta["name"]))

    def _add_owner(self, kind: str, meta: Obj) -> None:
        for owner in meta.get("ownerReferences") or []:
            if owner.get("kind") == kind:
                self._context.queue.add(Key(kind, meta["namespace"], owner["name"]))

    def _forget(self) -> None:
        """Drop what is remembered about objects that no longer exist."""
        existing = {
            obj["metadata"]["uid"] for resource in (WORKERS, POOLS) for obj in self._context.cache.all(resource)
        }
        for uid in self._context.memories.keys() - existing:
            del self._context.memories[uid]
        for uid in self._pools.stabilisers.keys() - existing:
            del self._pools.stabilisers[uid]

    def _update_gauges(self) -> None:
        metrics.POOLS.set(len(self._context.cache.all(POOLS)))
        metrics.API_CONNECTED.set(self._context.fleet.stale_since is None)
        metrics.WORKERS.clear()
        for obj in self._context.cache.all(WORKERS):
            state = (obj.get("status") or {}).get("state", "unknown to the operator")
            metrics.WORKERS.labels((obj.get("spec") or {}).get("mode", "Managed"), state).inc()
