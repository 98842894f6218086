"""Tasks that wait for the test: one then uses everything that needs Airflow, the other just ends."""

import os
import time
from pathlib import Path

from airflow.sdk import Variable, dag, get_current_context, task

FOLDER = Path(os.environ["TEST_FOLDER"])
LIMIT_S = 600


def note(file, word, ti):
    with file.open("a") as notes:
        notes.write(f"{word} {ti.try_number} {os.getpid()}\n")


def wait():
    ti = get_current_context()["ti"]
    folder = FOLDER / ti.run_id
    folder.mkdir(exist_ok=True)
    note(folder / ti.task_id, "start", ti)
    limit = time.monotonic() + LIMIT_S
    while not (folder / "release").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    return ti, folder / ti.task_id


@dag(dag_id="hold_and_write", schedule=None, default_args={"executor": "edge_provider.executor.EdgeExecutor"})
def writing():
    @task
    def write():
        ti, notes = wait()
        note(notes, "wrote", ti)
        ti.xcom_push(key="during", value={"pushed": True})
        Variable.set(f"written_{ti.run_id}", "yes")
        print(f"the variable is {Variable.get(f'written_{ti.run_id}')}", flush=True)
        note(notes, "end", ti)
        return "done"

    @task
    def quiet():
        ti, notes = wait()
        note(notes, "end", ti)

    write()
    quiet()


writing()
