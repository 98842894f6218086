"""The summary of the fleet: it must say the same as the lists that it stands for."""

from collections import Counter
from typing import Any

from edge_api import __version__
from edge_protocol.worker_state import GONE_STATES, WorkerState
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import ELSEWHERE, MINE, AdminClient
from edge_testing.edge_api.credentials import worker_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.session import Client, heartbeat, session
from edge_testing.waiting import until


async def agrees(client: AdminClient) -> dict[str, Any]:
    """Return the summary, which must agree with the lists."""
    summary: dict[str, Any] = await client.get("/summary")
    workers = (await client.get("/workers", limit=1000))["items"]
    queues = (await client.get("/queues"))["items"]
    states = Counter(worker["state"] for worker in workers)
    assert summary["workers"] == {state: states[state] for state in WorkerState}
    live = [worker for worker in workers if worker["state"] not in GONE_STATES]
    assert summary["slots"] == sum(worker["concurrency"] for worker in live)
    assert summary["slots_used"] == sum(worker["slots_used"] for worker in live)
    assert summary["jobs_queued"] == sum(queue["depth"] for queue in queues)
    unserved = [queue["queue"] for queue in queues if queue["depth"] and not queue["workers_capable"]]
    assert summary["queues_unserved"] == unserved
    return summary


async def test_an_empty_fleet(admin: AdminClient) -> None:
    summary = await agrees(admin)
    assert (summary["slots"], summary["jobs_running"], summary["oldest_s"]) == (0, 0, 0)
    assert summary["version"] == __version__


async def test_states_slots_jobs_and_queues(
    fleet: dict[str, Client], shared: ApiProcess, shared_db: Db, admin: AdminClient, scoped: AdminClient
) -> None:
    await until(lambda: _count(admin, "idle", 3), "all are idle")
    async with session(shared.url, worker_credential(shared_db, "plant-3", team="red"), name="plant-3") as gone:
        await gone.send(heartbeat(free_slots=4), {"type": "bye"})
        await gone.closed()
    await fleet[ELSEWHERE].send(heartbeat(free_slots=0))
    shared_db.enqueue(queue="a", team="red", slots=3)
    lease = await fleet[MINE].accept()
    await fleet[MINE].send(heartbeat(lease, free_slots=1))
    await until(lambda: _count(admin, "running", 1), "it runs")
    # Too large for any worker, so that they wait also in a queue that is served.
    shared_db.enqueue(2, queue="nobody", team="red", slots=99)
    shared_db.enqueue(queue="b", team="red", slots=99)
    await admin.call("PATCH", f"/workers/{MINE}", json={"concurrency": 7})
    summary = await agrees(admin)
    assert (summary["slots"], summary["slots_used"], summary["jobs_running"]) == (15, 3, 1)
    assert summary["queues_unserved"] == ["b", "nobody"]
    assert summary["oldest_s"] >= 0
    await agrees(scoped)

    await admin.call("PATCH", f"/workers/{MINE}", json={"add_queues": ["nobody"]})
    assert (await agrees(admin))["queues_unserved"] == ["b"]
    await admin.call("PUT", f"/workers/{MINE}/maintenance", json={"comment": "x"})
    assert (await agrees(admin))["queues_unserved"] == ["b", "nobody"]
    shared_db.rows("UPDATE edge.worker SET last_heartbeat = now() - interval '1 day' WHERE name LIKE 'shop%'")
    assert (await agrees(admin))["workers"]["unknown"] == 1
    assert (await agrees(scoped))["workers"]["unknown"] == 0


async def _count(admin: AdminClient, state: str, count: int) -> bool:
    return bool((await admin.get("/summary"))["workers"][state] == count)
