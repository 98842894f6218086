"""Every call that the operator makes, with a credential for a part of the fleet."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from edge_operator.fleet.admin_api import AdminApi, RefusedError
from edge_operator.fleet.observed import FleetFollower, FleetState
from edge_protocol.admin import TokenRequest, WorkerPatch
from edge_protocol.worker_state import WorkerState
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import admin_credential, enroll, worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import heartbeat, session
from edge_testing.waiting import until


@pytest.fixture
async def client(shared: ApiProcess, shared_db: Db, tmp_path: Path) -> AsyncIterator[AdminApi]:
    token = tmp_path / "credential"
    token.write_text(admin_credential(shared_db, worker_pattern="plant-*", team="red", queues=["a", "b"]))
    async with AdminApi(shared.url, token, None) as opened:
        yield opened


@pytest.fixture
async def state(client: AdminApi) -> AsyncIterator[FleetState]:
    """The operator's view of the fleet, from the change stream."""
    known = FleetState()
    following = asyncio.create_task(FleetFollower(client, known).run())
    yield known
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_life_of_a_managed_worker(
    shared: ApiProcess, shared_db: Db, client: AdminApi, state: FleetState
) -> None:
    # As in `desired.join_token`: queues and team are unrestricted unless the object names them.
    token = await client.create_token(TokenRequest(worker_pattern="plant-1", queues=None, team=None, uses=1))
    assert (token.team, token.queues) == ("red", ["a", "b"])
    credential = worker_credential(shared_db, "plant-1", team=token.team, queues=token.queues)
    async with session(shared.url, credential, name="plant-1", queues=["a"]) as worker:
        await worker.send(heartbeat(free_slots=4))
        await until(lambda: state.get("plant-1"), "the stream reports the worker")
        await client.enter_maintenance("plant-1", "disk")
        await worker.expect("desired", maintenance=True)
        await client.exit_maintenance("plant-1")
        await client.patch("plant-1", WorkerPatch(add_queues=["b"], concurrency=2))
        await worker.expect("desired", queues=["a", "b"])
        await client.request_shutdown("plant-1")
        await client.cancel_shutdown("plant-1")
        assert {view.queue: view.workers_capable for view in await client.queues()} == {"a": 1, "b": 1}
        await worker.send({"type": "bye"})
        await worker.closed()
    await until(lambda: (view := state.get("plant-1")) and view.state == WorkerState.OFFLINE, "offline")
    await client.revoke_credentials("plant-1")
    await client.revoke_token(token.id)
    await client.remove("plant-1")
    await until(lambda: state.get("plant-1") is None, "the stream reports the removal")
    assert state.names() == []
    assert client.unreachable_since is None


async def test_what_is_outside_of_the_scope_is_refused_and_nothing_worse(
    shared: ApiProcess, shared_db: Db, client: AdminApi, state: FleetState
) -> None:
    """An object out of scope must not look like an unreachable edge API, which would stop work on all others."""
    async with session(shared.url, await enroll(shared.url, shared_db.url, "shop-1"), name="shop-1"):
        with pytest.raises(RefusedError, match="may match other workers") as refused:
            await client.create_token(TokenRequest(worker_pattern="shop-1"))
        assert (refused.value.status, refused.value.code) == (403, "out_of_scope")
        # For this operator the worker does not exist, so a deletion finishes.
        await client.revoke_credentials("shop-1")
        await client.revoke_token(uuid4())
        await client.remove("shop-1")
        await asyncio.wait_for(state.ready.wait(), 10)
        assert state.names() == []
    assert client.unreachable_since is None
    assert shared_db.worker("shop-1").lost is False
