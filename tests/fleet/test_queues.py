"""Which queues a real worker serves."""

from typing import Any

import pytest

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.waiting import until
from edge_testing.workers.worker import Worker


@pytest.mark.parametrize("granted", [["paint", "press"], None], ids=["some granted", "any granted"])
async def test_without_the_option_a_worker_serves_all_queues_that_its_credential_grants(
    api: ApiProcess, make_worker: Any, db: Db, granted: list[str] | None
) -> None:
    worker: Worker = make_worker(api.url, queues=granted)
    await worker.start()
    jobs = [db.enqueue(workload="true", queue=queue)[0] for queue in granted or ["default"]]
    await until(lambda: {db.state(job) for job in jobs} == {"succeeded"}, "a job of each queue has run")
