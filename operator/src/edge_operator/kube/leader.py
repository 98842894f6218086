"""Leader election by a Lease: only the holder acts. The others keep their caches warm so that they can take over.

A leader that can't renew steps down before its lease expires, even if a renewal hangs. Each candidate measures with its
own clock how long the lease has not changed, so two never act at the same time as long as their clocks run at the same
speed. kopf's peering is not used (ADR 0023).
"""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime

from edge_operator.api import names
from edge_operator.api.types import Obj
from edge_operator.kube.client import LEASES, KubeClient, KubeError

log = logging.getLogger(__name__)

DURATION_S = 15.0
RENEW_S = 3.0
GIVE_UP_S = 10.0
"""The leader steps down after this long without renewing; the rest of DURATION_S is for stopping its parts."""


class LeaderLease:
    """The Lease `name` in `namespace`, to be held by `identity`."""

    def __init__(self, client: KubeClient, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace, self._name, self._identity = namespace, name, identity
        self._seen: tuple[str | None, float] = (None, 0.0)
        self._renewed = 0.0
        """Monotonic time just before the lease was last stored: the others can't have begun to count earlier."""

    async def acquire(self) -> None:
        """Return once the lease is held."""
        while not await self._try():  # noqa: ASYNC110  (the lease is on the apiserver; no event announces it)
            await asyncio.sleep(RENEW_S)
        log.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew the lease; return when it is lost."""
        while (rest := self._renewed + GIVE_UP_S - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                # A call may hang for longer than the lease lasts.
                async with asyncio.timeout(rest):
                    await asyncio.sleep(RENEW_S)
                    await self._try()
        log.warning("the lease is lost: another operator may lead now")

    async def release(self) -> None:
        """Release the lease so that another operator can lead at once."""
        try:
            lease = await self._client.find(LEASES, self._namespace, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.update(LEASES, lease)
        except KubeError as error:
            log.info("the lease could not be released: %s", error)

    async def _try(self) -> bool:
        try:
            lease = await self._client.find(LEASES, self._namespace, self._name)
            started = time.monotonic()
            if lease is None:
                await self._client.create(LEASES, self._claimed(None))
            elif self._free(lease):
                await self._client.update(LEASES, self._claimed(lease))
            else:
                return False
        except KubeError as error:
            # After a conflict another candidate has it; without an answer it is not known to be held.
            log.debug("the lease was not acquired: %s", error)
            return False
        self._renewed = started
        return True

    def _free(self, lease: Obj) -> bool:
        spec = lease["spec"]
        holder = spec.get("holderIdentity")
        if holder in (self._identity, "", None):
            return True
        version = lease["metadata"]["resourceVersion"]
        if self._seen[0] != version:
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds") or DURATION_S)

    def _claimed(self, lease: Obj | None) -> Obj:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        claimed = lease or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            # A Lease that the chart created keeps its own labels.
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {names.MANAGED_BY_LABEL: names.FIELD_MANAGER},
            },
            "spec": {"acquireTime": now},
        }
        spec = claimed["spec"]
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": int(DURATION_S), "renewTime": now}
        return claimed
