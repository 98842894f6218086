"""Assembles the operator and supervises its parts: a part that ends unexpectedly ends the process."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from edge_operator import metrics
from edge_operator.ca_bundle import CaBundleError, read_ca_bundle
from edge_operator.fleet.admin_api import AdminApi
from edge_operator.fleet.observed import FleetFollower, FleetState
from edge_operator.handlers import WatchError, watch
from edge_operator.kube.cache import Cache
from edge_operator.kube.client import POOLS, WORKERS, ForbiddenError, KubeClient, NotFoundError, UnavailableError
from edge_operator.kube.events import EventRecorder
from edge_operator.kube.leader import LeaderLease
from edge_operator.reconcile.context import Context
from edge_operator.reconcile.controller import Controller
from edge_operator.reconcile.queue import WorkQueue
from edge_operator.settings import OperatorSettings
from edge_operator.web import serve

log = logging.getLogger(__name__)

LOOP_LAG_MAX_S = 30.0
"""An event loop that does not run for this long hangs; the kubelet then restarts the pod."""
SHUTDOWN_S = 5.0
CRDS_AWAY_S = 60.0
"""How long the apiserver may not know the CRDs before the operator gives up."""
WATCHES_MIN_S = 5.0
"""Watches that fail sooner than this have failed at the start."""
FAILED_STARTS_MAX = 5
"""This many failed starts of the watches in a row end the process, so that the kubelet's backoff applies."""


class StartError(Exception):
    """The operator can't start; the message says how to fix it."""


class PartEndedError(Exception):
    """A part of the operator ended unexpectedly."""


@dataclass(slots=True)
class _Pulse:
    """Checks whether the event loop runs."""

    at: float = 0.0

    async def beat(self) -> None:
        while True:
            self.at = time.monotonic()
            await asyncio.sleep(1.0)

    def problem(self) -> str | None:
        return "the event loop hangs" if time.monotonic() - self.at > LOOP_LAG_MAX_S else None


async def run(settings: OperatorSettings) -> None:
    """Run until a signal stops it.

    An apiserver that has just started does not know the CRDs for a moment, which ends kopf's watches. The operator then
    restarts within the process, so that such a moment does not cost a restart of the container.

    Raises:
        StartError: the CRDs or a right are missing.

    """
    failed_starts = 0
    while True:
        started = time.monotonic()
        try:
            await _run_once(settings)
        except* WatchError as errors:
            failed_starts = failed_starts + 1 if time.monotonic() - started < WATCHES_MIN_S else 0
            if failed_starts == FAILED_STARTS_MAX:
                raise
            log.warning("%s; the operator restarts once the apiserver knows the EdgeWorkers", _first(errors))
        else:
            return
        await _wait_for_cluster(settings)


def _first(errors: BaseExceptionGroup[WatchError]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _wait_for_cluster(settings: OperatorSettings) -> None:
    """Wait until the cluster has the CRDs and the rights, at most `CRDS_AWAY_S`."""
    end = time.monotonic() + CRDS_AWAY_S
    while True:
        try:
            async with KubeClient(settings.kubeconfig) as kube:
                await _check_cluster(kube, settings)
                return
        except (StartError, UnavailableError):
            if time.monotonic() > end:
                raise
        await asyncio.sleep(1.0)


async def _run_once(settings: OperatorSettings) -> None:
    async with AsyncExitStack() as stack:
        try:
            kube = await stack.enter_async_context(KubeClient(settings.kubeconfig))
        except UnavailableError as error:
            raise StartError(str(error)) from error
        await _check_cluster(kube, settings)
        ca_bundle = await _ca_bundle(settings)
        api = await stack.enter_async_context(AdminApi(settings.api_url, settings.admin_token_file, ca_bundle))
        pulse = _Pulse(time.monotonic())
        port = await stack.enter_async_context(serve(settings.host, settings.port, pulse.problem))
        log.info("health and metrics on port %d", port)
        context = Context(
            settings=settings,
            ca_bundle=ca_bundle,
            kube=kube,
            cache=Cache(),
            events=EventRecorder(kube),
            admin_api=api,
            fleet=FleetState(),
            queue=WorkQueue(),
        )
        await _supervise(context, pulse)


async def _ca_bundle(settings: OperatorSettings) -> str | None:
    if settings.ca_bundle is None:
        return None
    try:
        return await asyncio.to_thread(read_ca_bundle, settings.ca_bundle)
    except CaBundleError as error:
        raise StartError(str(error)) from error


async def _supervise(context: Context, pulse: _Pulse) -> None:
    stop = asyncio.Event()
    parts = [("pulse", pulse.beat()), ("leader", _lead(context, Controller(context)))]
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(context, stop), name="operator: watches")
        async with _parts("operator", parts):
            await stop.wait()
        # Last, because kopf waits for all tasks that it finds, and then cancels them.
        watching.cancel()


async def _lead(context: Context, controller: Controller) -> None:
    """Lead whenever the lease is held."""
    settings = context.settings
    lease = LeaderLease(context.kube, settings.lease_namespace, settings.lease_name, settings.identity)
    while True:
        metrics.LEADING.set(0)
        await lease.acquire()
        metrics.LEADING.set(1)
        parts: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("events", context.events.run()),
            ("fleet", FleetFollower(context.admin_api, context.fleet).run()),
            ("resync", controller.resync()),
            ("queues", controller.watch_fleet()),
        ]
        parts += [(f"worker {number}", controller.work()) for number in range(settings.concurrency)]
        try:
            async with _parts("leading", parts):
                await lease.hold()
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_S):
                    await lease.release()
            raise
        context.synced.clear()


@asynccontextmanager
async def _parts(name: str, parts: list[tuple[str, Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """Run parts while the block runs; if one ends or fails, the block and the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_never_ending(part, work), name=f"{name}: {part}") for part, work in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _never_ending(name: str, work: Coroutine[Any, Any, None]) -> None:
    await work
    raise PartEndedError(f"the part {name!r} ended unexpectedly")


async def _check_cluster(kube: KubeClient, settings: OperatorSettings) -> None:
    """Check for CRDs and rights, which are easily forgotten and for which kopf would wait silently."""
    for resource in (WORKERS, POOLS):
        for scope in settings.scopes:
            try:
                await kube.list(resource, scope)
            except NotFoundError as error:
                raise StartError(f"the cluster does not know {resource.kind}; run: kubectl apply -f crds/") from error
            except ForbiddenError as error:
                raise StartError(
                    f"the operator may not list {resource.plural}: {error}; apply its RBAC rules"
                ) from error
            except UnavailableError as error:
                raise StartError(str(error)) from error
