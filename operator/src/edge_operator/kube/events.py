"""Events for people: bounded, never repeated in a row, and never in the way of the work that they tell of."""

import asyncio
import hashlib
import logging
import time
from datetime import UTC, datetime
from typing import Literal

from edge_operator.api import names
from edge_operator.api.quantities import timestamp
from edge_operator.api.types import Meta, Obj
from edge_operator.kube.client import KubeClient
from edge_operator.kube.errors import KubeError
from edge_operator.kube.resources import EVENTS

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
REPEAT_AFTER_S = 600.0
"""The same event about the same object is told again after so many seconds."""
MESSAGE_MAX = 1000
"""Characters; the apiserver takes 1,024."""

EventType = Literal["Normal", "Warning"]


class EventRecorder:
    """Takes events at once and posts them one by one; those that find the queue full are dropped, and logged."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._queue: asyncio.Queue[Obj] = asyncio.Queue(QUEUE_MAX)
        self._told: dict[str, float] = {}

    def record(self, kind: str, meta: Meta, event_type: EventType, reason: str, message: str) -> None:
        """Have an event told about an object."""
        text = message[:MESSAGE_MAX]
        digest = hashlib.sha256(f"{meta.uid}\x00{reason}\x00{text}".encode()).hexdigest()[:10]
        now = time.monotonic()
        self._told = {known: at for known, at in self._told.items() if at > now - REPEAT_AFTER_S}
        if digest in self._told:
            return
        self._told[digest] = now
        log.info("%s %s/%s: %s: %s", kind, meta.namespace, meta.name, reason, text)
        try:
            self._queue.put_nowait(_event(kind, meta, event_type, reason, text))
        except asyncio.QueueFull:
            log.warning("an event was dropped: %d wait already", QUEUE_MAX)

    async def run(self) -> None:
        """Post events until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(EVENTS, event)
            except KubeError as error:
                # A namespace that is being deleted takes no new objects, and an event is worth no second try.
                log.info("an event was not taken: %s", error)


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
