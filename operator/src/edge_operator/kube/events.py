"""Kubernetes Events, posted in the background: bounded, deduplicated, and a failure never affects a pass.

`kopf.event` is not used (ADR 0023): it works only inside of kopf's own handlers, and a pass runs outside of them.
"""

import asyncio
import hashlib
import logging
import time
from datetime import UTC, datetime
from typing import Literal

from edge_operator.api import names
from edge_operator.api.types import Meta, Obj, timestamp
from edge_operator.kube.client import EVENTS, KubeClient, KubeError

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
REPEAT_AFTER_S = 600.0
"""Seconds after which the same event about the same object is posted again."""
MESSAGE_MAX = 1000
"""Characters; the apiserver accepts 1,024."""

EventType = Literal["Normal", "Warning"]


class EventRecorder:
    """Queues events and posts them one by one; when the queue is full, an event is dropped and logged."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._queue: asyncio.Queue[Obj] = asyncio.Queue(QUEUE_MAX)
        self._posted: dict[str, float] = {}

    def record(self, kind: str, meta: Meta, event_type: EventType, reason: str, message: str) -> None:
        """Queue an event about an object."""
        text = message[:MESSAGE_MAX]
        digest = hashlib.sha256(f"{meta.uid}\x00{reason}\x00{text}".encode()).hexdigest()[:10]
        now = time.monotonic()
        self._posted = {known: at for known, at in self._posted.items() if at > now - REPEAT_AFTER_S}
        if digest in self._posted:
            return
        self._posted[digest] = now
        log.info("%s %s/%s: %s: %s", kind, meta.namespace, meta.name, reason, text)
        try:
            self._queue.put_nowait(_event(kind, meta, event_type, reason, text))
        except asyncio.QueueFull:
            log.warning("an event was dropped: %d are waiting", QUEUE_MAX)

    async def run(self) -> None:
        """Post events until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(EVENTS, event)
            except KubeError as error:
                # A namespace that is being deleted accepts no new objects. An event is not worth a retry.
                log.info("an event could not be posted: %s", error)


def _event(kind: str, meta: Meta, event_type: EventType, reason: str, message: str) -> Obj:
    now = datetime.now(UTC)
    suffix = f"{time.time_ns():x}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name[:200]}.{suffix}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": event_type,
        "reason": reason,
        "message": message,
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
