"""Brings one EdgeWorker up to date."""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import EdgeWorker, Obj, SpecError, WorkerSpec, read_worker
from edge_operator.desired.fleet_changes import NOT_YET, Wishes, live, shutdown_to_keep, wishes
from edge_operator.desired.observed_pod import pod_reason
from edge_operator.desired.worker_status import Observed, worker_status
from edge_operator.fleet.errors import FleetError, MissingError, UnreachableError
from edge_operator.kube.errors import ConflictError, KubeError, UnavailableError
from edge_operator.kube.resources import WORKERS
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.deletion import reconcile_deletion
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.status import write_worker_status
from edge_operator.reconcile.tokens import keep_token
from edge_operator.reconcile.workload import Problem, apply_children, roll_pods
from edge_protocol.admin import WorkerView

POD_CHECK = timedelta(seconds=30)
"""A pod that stops is looked at again after this time, should its node be lost."""
REPEAT_AFTER_S = 5.0
"""The same call is made again after so long if the worker's view has not changed."""


async def reconcile_worker(context: Context, key: Key) -> timedelta | None:
    """Do what is to be done now; return when to look again even if nothing happens."""
    worker = context.worker(key)
    if worker is None:
        return None
    if worker.meta.deleted_at is not None:
        return await reconcile_deletion(context, worker)
    if names.FINALIZER not in worker.meta.finalizers:
        worker = await _hold(context, worker)
    return await _Pass(context, worker, utc_now()).run()


async def _hold(context: Context, worker: EdgeWorker) -> EdgeWorker:
    finalizers = [*worker.meta.finalizers, names.FINALIZER]
    obj = context.cache.get(WORKERS, worker.meta.namespace, worker.meta.name) or {}
    version = (obj.get("metadata") or {}).get("resourceVersion")
    patch = {"metadata": {"finalizers": finalizers, "resourceVersion": version, "uid": worker.meta.uid}}
    made = await context.kube.merge(WORKERS, worker.meta.namespace, worker.meta.name, patch)
    context.cache.put(WORKERS, made)
    return read_worker(made)


class _Pass:
    """One pass over one EdgeWorker that is not being deleted."""

    def __init__(self, context: Context, worker: EdgeWorker, now: datetime) -> None:
        self.context = context
        self.worker = worker
        self.now = now
        self.view: WorkerView | None = context.state.get(worker.worker_name)
        self.problem: Problem | None = None
        self.progressing: Problem | None = None
        self.extra: Obj = {
            field: worker.status.get(field) for field in ("requestedMaintenance", "requestedShutdown", "templateHash")
        }
        self.again: list[timedelta] = []
        self.blocked: str | None = None
        self.failure: FleetError | KubeError | None = None

    async def run(self) -> timedelta | None:
        """Cordon first: what the apiserver refuses about the worker's objects must not keep it in service."""
        spec = self._read_spec()
        if not self._owns_name():
            self.view = None
        elif spec is not None:
            wish = wishes(self.worker, spec, self.view) if self.view is not None else Wishes()
            with self._failure_kept():
                await self._tell_fleet(wish)
            with self._failure_kept():
                if shutdown_to_keep(self.worker, self.view):
                    await self._keep_down()
            with self._failure_kept():
                await self._token(spec)
            if self.worker.managed:
                with self._failure_kept():
                    await self._objects(spec)
                with self._failure_kept():
                    await self._roll(spec)
        await self._write_status()
        if self.failure is not None:
            raise self.failure
        return min(self.again, default=None)

    @contextlib.contextmanager
    def _failure_kept(self) -> Iterator[None]:
        """Keep an error for the end of the pass, so that the steps after this one are done all the same.

        It is shown in the status, unless it will pass by itself: a conflict, or a server that does not answer.
        """
        try:
            yield
        except FleetError as error:
            self.failure = self.failure or error
            if not isinstance(error, UnreachableError):
                message = f"The edge API refuses a change: {error}"
                self.context.events.record(names.WORKER_KIND, self.worker.meta, "Warning", "EdgeApiRefused", message)
        except (ConflictError, UnavailableError) as error:
            self.failure = self.failure or error
        except KubeError as error:
            self.failure = self.failure or error
            self.blocked = self.blocked or f"The apiserver refuses a change: {error}"

    def _read_spec(self) -> WorkerSpec | None:
        try:
            return self.worker.spec()
        except SpecError as error:
            self.problem = Reason.INVALID_SPEC, f"spec.{error}"
            return None

    def _owns_name(self) -> bool:
        owner = self.context.owner(self.worker.worker_name)
        if owner is None or owner.meta.uid == self.worker.meta.uid:
            return True
        where = f"{owner.meta.namespace}/{owner.meta.name}"
        self.problem = Reason.NAME_TAKEN, f"Worker {self.worker.worker_name} belongs to EdgeWorker {where}."
        return False

    async def _token(self, spec: WorkerSpec) -> None:
        # Without it the pod can be made all the same; it waits for its token as it would wait for the edge API.
        fields, again = await keep_token(self.context, self.worker, spec, self.view, self.now)
        self.extra |= fields
        if again is not None:
            self.again.append(again)

    async def _objects(self, spec: WorkerSpec) -> None:
        if names.SHUTDOWN in self.worker.meta.annotations:
            self.extra["requestedShutdown"] = True
        self.problem = await apply_children(self.context, self.worker, spec)

    async def _roll(self, spec: WorkerSpec) -> None:
        rolling = await roll_pods(self.context, self.worker, spec, self.view, self.now)
        template = (self.context.stateful_set(self.worker) or {}).get("spec", {}).get("template", {})
        self.extra["templateHash"] = template.get("metadata", {}).get("annotations", {}).get(names.HASH_ANNOTATION)
        if rolling is not None:
            self.progressing = rolling
            self.again.append(POD_CHECK)
        elif (
            names.SHUTDOWN not in self.worker.meta.annotations and self._starts() and not (self.problem or self.blocked)
        ):
            self.progressing = Reason.CREATING, "The pod starts and joins the fleet."

    def _starts(self) -> bool:
        return not self._arrived() or not live(self.view) or pod_reason(self.context.pods(self.worker)) is not None

    def _arrived(self) -> bool:
        """Return whether the view is about the pod that is there now, as far as this operator saw pods come and go.

        Clocks are not compared: that of a node may be wrong.
        """
        memory = self.context.memory(self.worker.meta.uid)
        uid = next((pod.uid for pod in self.context.pods(self.worker)), None)
        if memory.pod_uid is not None and memory.pod_uid != uid and self.view is not None:
            memory.departed_revision = self.view.revision if live(self.view) else -1
        memory.pod_uid = uid
        return self.view is None or self.view.revision > memory.departed_revision

    async def _keep_down(self) -> None:
        """Make a shutdown that was asked for elsewhere last."""
        meta = self.worker.meta
        patch = {"metadata": {"uid": meta.uid, "annotations": {names.SHUTDOWN: "requested through the edge API"}}}
        made = await self.context.kube.merge(WORKERS, meta.namespace, meta.name, patch)
        self.context.cache.put(WORKERS, made)
        self.worker = read_worker(made)
        message = f"Somebody shut it down. It stays down until its annotation {names.SHUTDOWN} is removed."
        self.context.events.record(names.WORKER_KIND, meta, "Normal", Reason.SHUTDOWN_REQUESTED, message)

    async def _note_ahead(self, wish: Wishes) -> None:
        """Write down that a request is ours before it is made, see `desired.wishes`."""
        if wish.enter is not None and self.worker.status.get("requestedMaintenance") is None:
            await self._keep({"requestedMaintenance": NOT_YET})
        if wish.shutdown and not self.worker.status.get("requestedShutdown"):
            await self._keep({"requestedShutdown": True})

    async def _keep(self, fields: Obj) -> None:
        meta = self.worker.meta
        patch = {"status": fields, "metadata": {"uid": meta.uid}}
        made = await self.context.kube.merge(WORKERS, meta.namespace, meta.name, patch, subresource="status")
        self.context.cache.put(WORKERS, made)
        self.worker = read_worker(made)
        self.extra |= {field: self.worker.status.get(field) for field in ("requestedMaintenance", "requestedShutdown")}

    async def _tell_fleet(self, wish: Wishes) -> None:
        view = self.view
        if view is None:
            return
        if not wish.any:
            self._settle(wish, view)
            return
        memory = self.context.memory(self.worker.meta.uid)
        sent = (wish, view.revision)
        self.progressing = Reason.CHANGING, "A change was sent to the worker."
        if memory.sent == sent and time.monotonic() - memory.sent_at < REPEAT_AFTER_S:
            # The view is still that of before the call.
            self.again.append(timedelta(seconds=REPEAT_AFTER_S))
            return
        await self._note_ahead(wish)
        try:
            await self._call(wish)
        except MissingError:
            # Removed from the fleet meanwhile; the change stream will say so.
            return
        memory.sent, memory.sent_at = sent, time.monotonic()
        self.extra["requestedMaintenance"] = wish.requested
        self.view = self.context.state.get(view.name) or view

    def _settle(self, wish: Wishes, view: WorkerView) -> None:
        """Forget requests that are over, once the fleet shows it."""
        self.extra["requestedMaintenance"] = wish.requested
        if names.SHUTDOWN not in self.worker.meta.annotations and not view.shutdown:
            self.extra["requestedShutdown"] = None

    async def _call(self, wish: Wishes) -> None:
        name, fleet = self.worker.worker_name, self.context.fleet
        if wish.enter is not None:
            await fleet.enter_maintenance(name, wish.enter)
        if wish.exit:
            await fleet.exit_maintenance(name)
        if wish.shutdown is True:
            await fleet.request_shutdown(name)
        if wish.shutdown is False:
            await fleet.cancel_shutdown(name)
        if wish.patch is not None:
            await fleet.patch(name, wish.patch)

    async def _write_status(self) -> None:
        seen = Observed(
            worker=self.worker,
            view=self.view,
            fleet_known=self.context.state.ready.is_set(),
            fleet_fresh=self.context.fleet_fresh(),
            arrived=not self.worker.managed or self._arrived(),
            pods=self.context.pods(self.worker),
            problem=self.problem,
            progressing=self.progressing,
            blocked=self.blocked,
            extra=self.extra,
            now=self.now,
        )
        after = worker_status(seen)
        wait = await write_worker_status(self.context, self.worker, after)
        if wait is not None:
            self.again.append(wait)
