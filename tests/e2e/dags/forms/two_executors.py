"""One task on LocalExecutor, and some at the remote site."""

import os

from airflow.sdk import dag, task

EDGE = "edge_provider.executor.EdgeExecutor"


@dag(schedule=None)
def two_executors():
    @task
    def order():
        assert "EDGE_WORKER_NAME" not in os.environ
        return ["door", "hood", "fender"]

    @task(executor=EDGE, queue="press")
    def press(part):
        print(f"pressed a {part}")
        return os.environ["EDGE_WORKER_NAME"]

    @task
    def count(workers):
        return len(list(workers))

    count(press.expand(part=order()))


two_executors()
