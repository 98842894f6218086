"""Two API processes on one database."""

import asyncio

from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import connect, frame, hello, session
from edge_testing.waiting import until


async def test_a_worker_moves_between_replicas(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    credential = await enroll(one.url, db.url, "w1")
    async with session(one.url, credential) as old:
        [job] = db.enqueue()
        lease = await old.accept()
        async with connect(other.url, credential) as new:
            await new.send(hello("w1", held=[lease]))
            await old.expect("error", code="superseded")
            await old.closed()
            await new.report(lease)
            [following] = db.enqueue()
            await new.expect("job", job_id=following)
    assert db.state(job) == "succeeded"


async def test_cancels_and_requests_reach_the_right_replica(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(), await start_api()
    first, second = await enroll(one.url, db.url, "w1"), await enroll(one.url, db.url, "w2")
    async with session(one.url, first), session(other.url, second, name="w2", queues=["far"]) as worker:
        [job] = db.enqueue(queue="far")
        lease = await worker.accept()
        db.revoke(job)
        await worker.expect("cancel", lease_id=lease)
        db.set_desired("w2", shutdown=True)
        await worker.expect("desired", shutdown=True)


async def test_no_job_goes_to_two(start_api: StartApi, db: Db) -> None:
    replicas = [await start_api(), await start_api()]
    names = [f"w{number}" for number in range(4)]
    credentials = [await enroll(replicas[0].url, db.url, name) for name in names]
    jobs = db.enqueue(200)
    done = 0

    async def work(number: int) -> None:
        nonlocal done
        async with session(replicas[number % 2].url, credentials[number], name=names[number]) as worker:
            while done < len(jobs):
                try:
                    lease = await asyncio.wait_for(worker.accept(), 1)
                except TimeoutError:
                    continue
                await worker.report(lease)
                done += 1

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(number))
    assert {row.state for row in db.rows("SELECT state FROM edge.job")} == {"succeeded"}
    assert db.rows("SELECT count(*) AS n FROM edge.lease")[0].n == len(jobs)
    assert len({row.worker_name for row in db.rows("SELECT worker_name FROM edge.lease")}) > 1


async def test_one_replica_does_the_housekeeping_and_another_takes_over(start_api: StartApi, db: Db) -> None:
    one, other = await start_api(accept_timeout_s=0.3), await start_api(accept_timeout_s=0.3)
    passes = 'airflow_edge_housekeeping_passes_total{duty="lease-rescue"}'
    await until(lambda: _count_above(one, passes, 1), "the first replica has the lock")
    assert await other.metric(passes) == 0
    one.kill()
    credential = await enroll(other.url, db.url, "w1")
    async with session(other.url, credential) as worker:
        [job] = db.enqueue()
        await worker.expect("job", job_id=job)
        await until(lambda: _count_above(other, "airflow_edge_lease_rescues_total", 0), "the job is put back")
        again = await worker.expect("job", job_id=job)
        await worker.send(frame("accept", lease_id=again["lease_id"]))
        await worker.expect("ack", of="accept")


async def _count_above(api: ApiProcess, name: str, count: int) -> bool:
    return bool(await api.metric(name) > count)
