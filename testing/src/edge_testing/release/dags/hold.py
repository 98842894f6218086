"""Tasks that print a line each second until their gate opens.

A gate is an Airflow Variable. The run's `conf` has its name and the number of tasks: {"gate": NAME, "tasks": 3}.
"""

import os
import time

from airflow.sdk import Variable, dag, get_current_context, task


def hold_on(queue):
    @dag(dag_id=f"hold_{queue}", schedule=None)
    def hold():
        @task(queue=queue)
        def numbers():
            return list(range(get_current_context()["dag_run"].conf["tasks"]))

        @task(queue=queue, retries=2, retry_delay=1)
        def wait(number):
            gate = get_current_context()["dag_run"].conf["gate"]
            line = 0
            while Variable.get(gate, default="") != "open":
                line += 1
                print(f"line {line}")
                time.sleep(1)
            print(f"{line} lines")
            return os.environ["EDGE_WORKER_NAME"]

        wait.expand(number=numbers())

    hold()


for name in ("default", "pool"):
    hold_on(name)
