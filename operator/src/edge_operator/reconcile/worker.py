"""One pass over an EdgeWorker, in its order: finalizer, cordon and other changes of the fleet, workload, status.

The cordon goes first: nothing that the apiserver refuses about the workload may keep a worker in service. Each later
step is done even if the one before it failed; the first error is raised at the end, so that the pass is retried.
"""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from edge_operator.api import names
from edge_operator.api.conditions import Reason
from edge_operator.api.types import EdgeWorker, Obj, SpecError, WorkerSpec, read_worker
from edge_operator.desired.fleet_changes import NOT_YET, FleetChanges, fleet_changes, shutdown_to_keep
from edge_operator.desired.worker_status import Observed, worker_status
from edge_operator.fleet.admin_api import FleetError, MissingError, UnreachableError
from edge_operator.kube.client import WORKERS, ConflictError, KubeError, UnavailableError
from edge_operator.reconcile.context import Context, utc_now
from edge_operator.reconcile.deletion import reconcile_deletion
from edge_operator.reconcile.own_objects import NameTakenError
from edge_operator.reconcile.queue import Key
from edge_operator.reconcile.workload import Problem, apply_workload, keep_token, known_token, roll_pods
from edge_protocol.admin import WorkerView

POD_CHECK = timedelta(seconds=30)
"""Requeue delay while a pod is stopping: its node may be lost."""
NAME_CHECK = timedelta(seconds=10)
"""Requeue delay while an object of somebody else has the name: objects of others are not watched."""
REPEAT_AFTER_S = 5.0
"""Seconds after which the same changes are sent again if the view has not changed."""
KEPT_FIELDS = ("requestedMaintenance", "requestedShutdown", "templateHash")
"""Fields of the status that a pass keeps unless it changes them, besides those about the join token."""


async def reconcile_worker(context: Context, key: Key) -> timedelta | None:
    """Reconcile once; return the requeue delay, if any."""
    worker = context.worker(key)
    if worker is None:
        return None
    if worker.meta.deleted_at is not None:
        return await reconcile_deletion(context, worker)
    if names.FINALIZER not in worker.meta.finalizers:
        # Before everything that a deletion has to clean up.
        worker = await _add_finalizer(context, worker)
    return await _Pass(context, worker, utc_now()).run()


async def _add_finalizer(context: Context, worker: EdgeWorker) -> EdgeWorker:
    obj = context.cache.get(WORKERS, worker.meta.namespace, worker.meta.name) or {}
    version = (obj.get("metadata") or {}).get("resourceVersion")
    finalizers = [*worker.meta.finalizers, names.FINALIZER]
    patch = {"metadata": {"finalizers": finalizers, "resourceVersion": version, "uid": worker.meta.uid}}
    written = await context.kube.merge(WORKERS, worker.meta.namespace, worker.meta.name, patch)
    context.cache.put(WORKERS, written)
    return read_worker(written)


class _Pass:
    """One pass over one EdgeWorker that is not being deleted, and what it has found out so far."""

    def __init__(self, context: Context, worker: EdgeWorker, now: datetime) -> None:
        self.context = context
        self.worker = worker
        self.now = now
        self.memory = context.memory(worker.meta.uid)
        self.view: WorkerView | None = context.fleet.get(worker.worker_name)
        self.problem: Problem | None = None
        self.rolling: str | None = None
        self.blocked: str | None = None
        self.change_sent = False
        self.extra: Obj = {field: worker.status.get(field) for field in KEPT_FIELDS} | known_token(worker)
        self.requeue: list[timedelta] = []
        self.failure: FleetError | KubeError | None = None

    async def run(self) -> timedelta | None:
        """Do all steps; return the requeue delay, if any."""
        spec = self._read_spec()
        if self._owns_name():
            with self._failures_kept():
                await self._change_fleet(spec)
            with self._failures_kept():
                await self._keep_shutdown()
            if spec is not None:
                await self._reconcile_workload(spec)
        else:
            self.view = None
        await self._write_status()
        if self.failure is not None:
            raise self.failure
        return min(self.requeue, default=None)

    def _read_spec(self) -> WorkerSpec | None:
        try:
            spec = self.worker.spec()
        except SpecError as error:
            self.problem = Reason.INVALID_SPEC, f"spec.{error}"
            return None
        refusal = self.context.settings.bounds_of(self.worker.meta.namespace).spec_refusal(spec)
        if refusal is not None:
            self.problem = Reason.OUT_OF_BOUNDS, refusal
            return None
        return spec

    def _owns_name(self) -> bool:
        refusal = self.context.refusal(self.worker)
        if refusal is not None:
            self.problem = Reason.OUT_OF_BOUNDS, refusal
            return False
        owner = self.context.owner(self.worker.worker_name)
        if owner is None or owner.meta.uid == self.worker.meta.uid:
            return True
        # Another namespace must not learn the names in this one.
        other = owner.meta.namespace != self.worker.meta.namespace
        whose = "an EdgeWorker of another namespace" if other else f"EdgeWorker {owner.meta.name}"
        self.problem = Reason.NAME_TAKEN, f"Worker {self.worker.worker_name} belongs to {whose}."
        return False

    @contextlib.contextmanager
    def _failures_kept(self) -> Iterator[None]:
        """Keep the error of a step for the end of the pass, so that the next steps are done all the same.

        It is shown to people unless a retry is likely to help: after a conflict, or if a server does not answer.
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

    # The fleet: maintenance, shutdown, queues and slots

    async def _change_fleet(self, spec: WorkerSpec | None) -> None:
        view = self.view
        if view is None:
            return
        changes = fleet_changes(self.worker, spec, view)
        if not changes.any:
            # Requests that have ended are forgotten once the fleet shows it.
            self.extra["requestedMaintenance"] = changes.requested
            if names.SHUTDOWN not in self.worker.meta.annotations and not view.shutdown:
                self.extra["requestedShutdown"] = None
            return
        self.change_sent = True
        sent = (changes, view.revision)
        if self.memory.sent == sent and time.monotonic() - self.memory.sent_at < REPEAT_AFTER_S:
            # The change stream has not reported the effect yet.
            self.requeue.append(timedelta(seconds=REPEAT_AFTER_S))
            return
        await self._record_requests(changes)
        try:
            await self._send(changes)
        except MissingError:
            # Removed from the fleet in the meantime; the change stream will report it.
            return
        self.memory.sent, self.memory.sent_at = sent, time.monotonic()
        self.extra["requestedMaintenance"] = changes.requested
        self.view = self.context.fleet.get(view.name) or view

    async def _record_requests(self, changes: FleetChanges) -> None:
        """Record in the status that a request is ours before it is sent, see `desired.fleet_changes`."""
        record: Obj = {}
        if changes.enter is not None and self.worker.status.get("requestedMaintenance") is None:
            record["requestedMaintenance"] = NOT_YET
        if changes.shutdown and not self.worker.status.get("requestedShutdown"):
            record["requestedShutdown"] = True
        if record:
            await self._patch({"status": record}, subresource="status")
            self.extra |= record

    async def _send(self, changes: FleetChanges) -> None:
        name, api, fleet = self.worker.worker_name, self.context.admin_api, self.context.fleet
        if changes.enter is not None:
            fleet.put_answer(await api.enter_maintenance(name, changes.enter))
        if changes.exit:
            fleet.put_answer(await api.exit_maintenance(name))
        if changes.shutdown is True:
            fleet.put_answer(await api.request_shutdown(name))
        if changes.shutdown is False:
            fleet.put_answer(await api.cancel_shutdown(name))
        if changes.patch is not None:
            fleet.put_answer(await api.patch(name, changes.patch))

    async def _keep_shutdown(self) -> None:
        """Record a shutdown that was requested elsewhere in the EdgeWorker, so that it lasts."""
        if not shutdown_to_keep(self.worker, self.view):
            return
        await self._patch({"metadata": {"annotations": {names.SHUTDOWN: "requested through the edge API"}}})
        message = f"Shut down through the edge API. It stays down until the annotation {names.SHUTDOWN} is removed."
        self.context.events.record(names.WORKER_KIND, self.worker.meta, "Normal", Reason.SHUTDOWN_REQUESTED, message)

    async def _patch(self, patch: Obj, subresource: str | None = None) -> None:
        meta = self.worker.meta
        checked = patch | {"metadata": {"uid": meta.uid} | patch.get("metadata", {})}
        written = await self.context.kube.merge(WORKERS, meta.namespace, meta.name, checked, subresource)
        self.context.cache.put(WORKERS, written)
        self.worker = read_worker(written)

    # The workload: join token, objects, pod

    async def _reconcile_workload(self, spec: WorkerSpec) -> None:
        if self.worker.managed and names.SHUTDOWN in self.worker.meta.annotations:
            self.extra["requestedShutdown"] = True
        try:
            with self._failures_kept():
                # If this fails, the pod is created all the same: it waits for a token as it waits for the edge API.
                await self._keep_token(spec)
            if not self.worker.managed:
                return
            with self._failures_kept():
                self.problem = await apply_workload(self.context, self.worker, spec)
        except NameTakenError as error:
            self.problem = Reason.NAME_TAKEN, str(error)
            self.requeue.append(NAME_CHECK)
            return
        with self._failures_kept():
            self.rolling = await roll_pods(self.context, self.worker, spec, self.view, self.now)
        if self.rolling is not None:
            self.requeue.append(POD_CHECK)
        template = (self.context.stateful_set(self.worker) or {}).get("spec", {}).get("template", {})
        self.extra["templateHash"] = template.get("metadata", {}).get("annotations", {}).get(names.HASH_ANNOTATION)

    async def _keep_token(self, spec: WorkerSpec) -> None:
        fields, requeue = await keep_token(self.context, self.worker, spec, self.view, self.now)
        self.extra |= dict.fromkeys(known_token(self.worker)) | fields
        self.requeue += [requeue] if requeue is not None else []

    # The status

    async def _write_status(self) -> None:
        pods = self.context.pods(self.worker)
        self.memory.pods = self.memory.pods.after(pods, self.view)
        seen = Observed(
            worker=self.worker,
            view=self.view,
            fleet_known=self.context.fleet.ready.is_set(),
            fleet_fresh=self.context.fleet_fresh(),
            view_is_of_pod=not self.worker.managed or self.memory.pods.is_current(self.view),
            pods=pods,
            now=self.now,
            problem=self.problem,
            rolling=self.rolling,
            blocked=self.blocked,
            change_sent=self.change_sent,
            extra=self.extra,
        )
        requeue = await self.context.write_worker_status(self.worker, worker_status(seen))
        self.requeue += [requeue] if requeue is not None else []
