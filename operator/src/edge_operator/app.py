"""Puts the parts together and watches over them: a part that ends when it should not ends the process."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import kopf
from kopf._cogs.clients.errors import APINotFoundError  # kopf has no public name for it

from edge_operator import metrics
from edge_operator.ca_bundle import TrustError, read_authorities
from edge_operator.fleet.admin_api import FleetHttp
from edge_operator.fleet.client import FleetClient
from edge_operator.fleet.observed import FleetFollower
from edge_operator.fleet.state import FleetState
from edge_operator.handlers import make_kopf_settings, make_registry
from edge_operator.kube.cache import Cache
from edge_operator.kube.client import KubeClient
from edge_operator.kube.errors import ForbiddenError, NotFoundError, UnavailableError
from edge_operator.kube.events import EventRecorder
from edge_operator.kube.leader import LeaderLease
from edge_operator.kube.resources import POOLS, WORKERS
from edge_operator.reconcile.context import Context
from edge_operator.reconcile.controller import Controller
from edge_operator.reconcile.queue import WorkQueue
from edge_operator.settings import OperatorSettings
from edge_operator.web import serve

log = logging.getLogger(__name__)

LOOP_LAG_MAX_S = 30.0
"""A loop that did not turn for so long hangs; the kubelet then restarts the pod."""
SHUTDOWN_S = 5.0
CRDS_AWAY_S = 60.0
"""The apiserver may not know the CRDs for so long before the operator gives up."""


class StartError(Exception):
    """The operator can't start; the message says what mends it."""


class PartEndedError(Exception):
    """A part of the operator ended by itself."""


@dataclass(slots=True)
class _Pulse:
    """Whether the event loop turns."""

    at: float = 0.0

    async def beat(self) -> None:
        while True:
            self.at = time.monotonic()
            await asyncio.sleep(1.0)

    def problem(self) -> str | None:
        return "the event loop hangs" if time.monotonic() - self.at > LOOP_LAG_MAX_S else None


async def run(settings: OperatorSettings) -> None:
    """Run until a signal tells to stop.

    An apiserver that starts does not know the CRDs for a moment, and kopf ends then. All begins anew.

    Raises:
        StartError: the CRDs are missing, or a right is.

    """
    while True:
        try:
            await _run_once(settings)
        except* APINotFoundError:
            log.warning("the apiserver does not know the EdgeWorkers; the operator begins anew once it does")
        else:
            return
        await _wait_for_cluster(settings)


async def _wait_for_cluster(settings: OperatorSettings) -> None:
    """Wait until the cluster has what is needed, `CRDS_AWAY_S` at most."""
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
        authorities = await _authorities(settings)
        http = await stack.enter_async_context(FleetHttp(settings.api_url, settings.admin_token_file, authorities))
        pulse = _Pulse(time.monotonic())
        port = await stack.enter_async_context(serve(settings.host, settings.port, pulse.problem))
        log.info("health and metrics on port %d", port)
        state = FleetState()
        context = Context(
            settings=settings,
            authorities=authorities,
            kube=kube,
            cache=Cache(),
            events=EventRecorder(kube),
            http=http,
            fleet=FleetClient(http, state),
            state=state,
            queue=WorkQueue(),
        )
        await _supervise(context, pulse)


async def _authorities(settings: OperatorSettings) -> str | None:
    if settings.ca_bundle is None:
        return None
    try:
        return await asyncio.to_thread(read_authorities, settings.ca_bundle)
    except TrustError as error:
        raise StartError(str(error)) from error


async def _supervise(context: Context, pulse: _Pulse) -> None:
    stop = asyncio.Event()
    parts = [("pulse", pulse.beat()), ("leader", _lead(context, Controller(context)))]
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(context, stop), name="operator: watches")
        async with _parts("operator", parts):
            await stop.wait()
        # After all others have ended: kopf waits for every task that it finds, and then cancels it.
        watching.cancel()


async def _watch(context: Context, stop: asyncio.Event) -> None:
    """Have kopf watch until cancelled; `stop` is set by a signal, and when kopf ends."""
    settings = context.settings
    others = asyncio.all_tasks()
    try:
        tasks = await kopf.spawn_tasks(
            registry=make_registry(context.kube, context.cache, context.relisted),
            settings=make_kopf_settings(settings),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
        )
        # In place of kopf's own handlers, with which the leader would act on for seconds after the signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await kopf.run_tasks(tasks, ignored=others)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        stop.set()


async def _lead(context: Context, controller: Controller) -> None:
    """Act while the lease is held, again and again."""
    settings = context.settings
    lease = LeaderLease(context.kube, settings.lease_namespace, settings.lease_name, settings.identity)
    while True:
        metrics.LEADING.set(0)
        await lease.acquire()
        metrics.LEADING.set(1)
        parts: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("events", context.events.run()),
            ("fleet", FleetFollower(context.http, context.state).run()),
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
    """Run parts while the block runs; one that ends or fails takes the block and the others with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_endless(part, work), name=f"{name}: {part}") for part, work in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _endless(name: str, work: Coroutine[Any, Any, None]) -> None:
    await work
    raise PartEndedError(f"the part {name!r} ended by itself")


async def _check_cluster(kube: KubeClient, settings: OperatorSettings) -> None:
    """Look for what is usually forgotten, since kopf would wait for it without a word."""
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
