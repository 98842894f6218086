"""The leader's lease: from when on it counts as held, and how long."""

import asyncio
from typing import Any, cast

import pytest

from edge_operator.kube import leader
from edge_operator.kube.client import KubeClient, UnavailableError
from edge_operator.kube.leader import LeaderLease


class Apiserver:
    """Stands in for the client: it has no Lease, creates one at once, and answers `delay_s` later."""

    delay_s = 0.0

    async def find(self, *_: Any) -> None:
        """Return that there is no Lease."""

    async def create(self, *_: Any) -> None:
        """Create the Lease."""
        await asyncio.sleep(self.delay_s)


class HangingApiserver(Apiserver):
    """Stands in for the client: it answers once, and then not before the client's own timeout."""

    answered = False

    async def find(self, *_: Any) -> None:
        """Answer once."""
        if self.answered:
            await asyncio.sleep(60)
            raise UnavailableError("no answer")
        self.answered = True


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader steps down after 0.3 s without renewing."""
    monkeypatch.setattr(leader, "RENEW_S", 0.1)
    monkeypatch.setattr(leader, "GIVE_UP_S", 0.3)


def lease_at(apiserver: Apiserver) -> LeaderLease:
    return LeaderLease(cast("KubeClient", apiserver), "namespace", "lease", "me")


async def test_a_renewal_that_hangs_ends_with_the_lease() -> None:
    lease = lease_at(HangingApiserver())
    await lease.acquire()
    async with asyncio.timeout(1):
        await lease.hold()


async def test_a_lease_counts_from_before_the_call_that_acquired_it() -> None:
    apiserver = Apiserver()
    apiserver.delay_s = 0.4
    lease = lease_at(apiserver)
    await lease.acquire()
    async with asyncio.timeout(0.09):
        await lease.hold()
