"""kopf's part: it watches, and its handlers put what they are told into the cache. All decisions are made elsewhere.

Only raw event handlers are registered, so kopf writes nothing: no annotations, no finalizers, no Events of its own.
"""

import asyncio
import logging
from typing import Any

import kopf

from edge_operator.kube.cache import Cache
from edge_operator.kube.client import KubeClient
from edge_operator.kube.resources import Resource
from edge_operator.reconcile.context import WATCHED
from edge_operator.settings import OperatorSettings


def make_registry(kube: KubeClient, cache: Cache, relisted: asyncio.Event) -> kopf.OperatorRegistry:
    """Return the handlers of one operator, which use the credentials of `kube`.

    `relisted` is set when a watch has begun anew, since nobody is then told of what vanished meanwhile.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        # Asked again when the apiserver refuses the token, so one that was replaced is found.
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
    def note(event: kopf.RawEvent, **_: Any) -> None:
        obj: Any = event["object"]
        if event["type"] is None:
            relisted.set()
        if event["type"] == "DELETED":
            cache.drop(resource, dict(obj))
        else:
            cache.put(resource, dict(obj))

    # A coroutine, or kopf would run it in a thread.
    async def on_event(event: kopf.RawEvent, **kwargs: Any) -> None:
        note(event, **kwargs)

    selector = (resource.group, resource.version, resource.plural)
    kopf.on.event(*selector, registry=registry, id=f"note-{resource.plural}")(on_event)


def make_kopf_settings(settings: OperatorSettings) -> kopf.OperatorSettings:
    """Return kopf's settings: only what is needed is watched, and an apiserver that is away is waited for."""
    made = kopf.OperatorSettings()
    # Events are written by `kube.events`.
    made.posting.enabled = False
    made.peering.standalone = True
    # Neither namespaces nor CRDs are watched, which would take rights on the whole cluster.
    made.scanning.disabled = True
    made.watching.server_timeout = 300
    made.watching.connect_timeout = 10
    made.watching.inactivity_timeout = 330
    made.watching.chunk_size = 500
    made.networking.request_timeout = 30
    # The last delay counts for ever: kopf would end the process after the last of a finite list.
    made.networking.error_backoffs = _Endless()
    made.queueing.idle_timeout = 1.0
    for resource, selector in WATCHED.items():
        if selector is not None:
            made.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    return made


class _Endless:
    """Delays in seconds that never end; can be iterated again and again."""

    def __iter__(self) -> "_Delays":
        return _Delays()


class _Delays:
    def __init__(self) -> None:
        self._next = 0.5

    def __iter__(self) -> "_Delays":
        return self

    def __next__(self) -> float:
        delay = self._next
        self._next = min(delay * 2, 5.0)
        return delay
