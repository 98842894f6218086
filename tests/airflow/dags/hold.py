"""Tasks that print lines until the test releases them, and note each start and end in a file."""

import os
import time
from pathlib import Path

from airflow.sdk import dag, get_current_context, task

FOLDER = Path(os.environ["TEST_FOLDER"])
ON_EDGE = {"executor": "edge_provider.executor.EdgeExecutor"}
PAUSE_S = 0.05
LIMIT_S = 600


@task
def hold():
    """Note "start", print numbered lines until the file `release` exists, note "end"; return the number of lines."""
    ti = get_current_context()["ti"]
    folder = FOLDER / ti.run_id
    folder.mkdir(exist_ok=True)
    notes = folder / ti.task_id
    with notes.open("a") as file:
        file.write(f"start {ti.try_number} {os.getpid()}\n")
    count, limit = 0, time.monotonic() + LIMIT_S
    while not (folder / "release").exists() and time.monotonic() < limit:
        print(f"line {count}", flush=True)
        count += 1
        time.sleep(PAUSE_S)
    with notes.open("a") as file:
        file.write(f"end {ti.try_number} {os.getpid()}\n")
    return count


def make(dag_id, names, **arguments):
    @dag(dag_id=dag_id, schedule=None, default_args=ON_EDGE)
    def holding():
        for name in names:
            hold.override(task_id=name, **arguments)()

    holding()


make("hold", ["a", "b", "c"])
make("hold_one", ["a"])
make("hold_gamma", ["a"], queue="gamma", retries=1, retry_delay=0)
make("hold_delta", ["a"], queue="delta")
# The names are in the workload several times, and in the log path.
make("long_dag_" + "d" * 200, ["long_task_" + "t" * 200])
# Characters that have a meaning in addresses, or that few people use.
make("öd.d-_", ["täsk.-1"], queue="öd / ?#%2F&=+")
