"""kopf's part: it watches, and its handlers put every reported object into the cache. Passes run elsewhere.

Only handlers of raw events are registered, so kopf writes nothing: no annotations, no finalizers, no Events. What kopf
offers and the operator does not use is listed in ADR 0023.
"""

import asyncio
import itertools
import logging
import signal
from collections.abc import Iterator
from typing import Any

import kopf

from edge_operator.kube.cache import Cache
from edge_operator.kube.client import KubeClient, Resource
from edge_operator.reconcile.context import WATCHED, Context
from edge_operator.settings import OperatorSettings


class WatchError(Exception):
    """kopf's watches have ended with an error."""


async def watch(context: Context, stop: asyncio.Event) -> None:
    """Keep the cache up to date until cancelled; `stop` is set by a signal, and when kopf ends.

    Raises:
        WatchError: a watch failed permanently; for example, the apiserver does not know a kind.

    """
    settings = context.settings
    others = asyncio.all_tasks()
    try:
        tasks = await kopf.spawn_tasks(
            registry=_make_registry(context.kube, context.cache, context.relisted),
            settings=_make_kopf_settings(settings),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
        )
        # Instead of kopf's own handlers, with which the leader would continue for seconds after the signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await kopf.run_tasks(tasks, ignored=others)
    except Exception as error:
        # Broad, because kopf's own exceptions have no public names.
        raise WatchError(f"the watches ended: {error}") from error
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        stop.set()


def _make_registry(kube: KubeClient, cache: Cache, relisted: asyncio.Event) -> kopf.OperatorRegistry:
    """Return the handlers, which use the credentials of `kube`.

    `relisted` is set when a watch has restarted: kopf does not report the objects that vanished in the meantime.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        # kopf calls this again when the apiserver refuses the token, which may have been replaced.
        known = await kube.credentials()
        return kopf.ConnectionInfo(
            server=known.server,
            ca_path=known.ca_path,
            scheme="Bearer" if known.token else None,
            token=known.token,
            certificate_path=known.certificate_path,
            private_key_path=known.key_path,
        )

    kopf.on.login(registry=registry)(login)
    for resource in WATCHED:
        _watch(registry, cache, resource, relisted)
    return registry


def _watch(registry: kopf.OperatorRegistry, cache: Cache, resource: Resource, relisted: asyncio.Event) -> None:
    # A coroutine, because kopf runs plain functions in a thread.
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        obj: Any = event["object"]
        if event["type"] is None:
            relisted.set()
        if event["type"] == "DELETED":
            cache.drop(resource, dict(obj))
        else:
            cache.put(resource, dict(obj))

    selector = (resource.group, resource.version, resource.plural)
    kopf.on.event(*selector, registry=registry, id=f"cache-{resource.plural}")(on_event)


def _make_kopf_settings(settings: OperatorSettings) -> kopf.OperatorSettings:
    """Return kopf's settings: watch only what is needed, and wait for an apiserver that does not answer."""
    kopf_settings = kopf.OperatorSettings()
    # `kube.events` posts the Events.
    kopf_settings.posting.enabled = False
    kopf_settings.peering.standalone = True
    # Do not watch namespaces and CRDs, which would require rights on the whole cluster.
    kopf_settings.scanning.disabled = True
    kopf_settings.watching.server_timeout = 300
    kopf_settings.watching.connect_timeout = 10
    kopf_settings.watching.inactivity_timeout = 330
    kopf_settings.watching.chunk_size = 500
    kopf_settings.networking.request_timeout = 30
    # Endless: kopf gives up after the last delay of a finite list.
    kopf_settings.networking.error_backoffs = _EndlessDelays()
    kopf_settings.queueing.idle_timeout = 1.0
    for resource, selector in WATCHED.items():
        if selector is not None:
            kopf_settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    return kopf_settings


class _EndlessDelays:
    """Delays in seconds between retries; kopf iterates it once per failing call."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0, 4.0), itertools.repeat(5.0))
