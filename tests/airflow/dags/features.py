"""One DAG for each thing that must work on an edge worker."""

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import (
    Asset,
    BaseOperator,
    Connection,
    DeadlineAlert,
    DeadlineReference,
    SyncCallback,
    Variable,
    dag,
    get_current_context,
    setup,
    task,
    teardown,
)

FOLDER = Path(os.environ["TEST_FOLDER"])
ON_EDGE = {"executor": "edge_provider.executor.EdgeExecutor"}
"""LocalExecutor is the platform's first and therefore default executor."""


def note(name, text):
    with (FOLDER / name).open("a") as file:
        file.write(f"{text}\n")


@dag(schedule=None, default_args=ON_EDGE)
def operators():
    bash = BashOperator(task_id="bash", bash_command="echo said by bash")
    python = PythonOperator(task_id="python", python_callable=lambda: "said by python")

    @task
    def taskflow(text):
        print(f"read {text}")
        return {"nested": [1, 2, {"three": 3}]}

    @task.branch
    def branch(value):
        return "left" if value["nested"][2]["three"] == 3 else "right"

    @task.bash
    def left():
        return "echo left"

    @task
    def right():
        return "never"

    @task.virtualenv(requirements=[], system_site_packages=True)
    def virtualenv():
        import sys  # noqa: PLC0415  (the function runs in another interpreter)

        return [sys.prefix, sys.base_prefix]

    bash >> virtualenv()
    branch(taskflow(python.output)) >> [left(), right()]


@dag(schedule=None, default_args=ON_EDGE)
def mapping():
    @task
    def numbers():
        return [1, 2, 3, 4, 5]

    @task
    def square(number):
        return number * number

    @task
    def total(squares):
        return sum(squares)

    total(square.expand(number=numbers()))


@dag(schedule=None, default_args=ON_EDGE)
def secrets():
    @task
    def read():
        connection = Connection.get("factory_db")
        return [Variable.get("greeting"), connection.host, connection.login]

    read()


@dag(schedule=None, default_args=ON_EDGE)
def setup_teardown():
    @setup
    def begin():
        return "begun"

    @task
    def work():
        raise RuntimeError("work fails, teardown runs all the same")

    @teardown
    def end(text):
        print(f"torn down what was {text}")

    begun = begin()
    begun >> work() >> end(begun)


@dag(schedule=None, default_args=ON_EDGE)
def retries():
    @task(retries=2, retry_delay=timedelta(seconds=0))
    def third_time():
        attempt = get_current_context()["ti"].try_number
        print(f"attempt {attempt}")
        if attempt < 3:
            raise RuntimeError(f"attempt {attempt} fails")
        return attempt

    third_time()


def failed(context):
    note("failed", f"{context['ti'].task_id}: {context['exception']}")


@dag(schedule=None, default_args=ON_EDGE)
def fails():
    @task(on_failure_callback=failed)
    def boom():
        raise RuntimeError("permanently")

    boom()


class Wait(BaseOperator):
    """Always defers; the standard sensors do not defer once their time has passed."""

    def execute(self, context):  # noqa: ARG002
        print("before the trigger")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="resume")

    def resume(self, context, event):  # noqa: ARG002
        print("after the trigger")


@dag(schedule=None, default_args=ON_EDGE)
def deferrable():
    @task
    def after():
        return "after"

    Wait(task_id="wait") >> after()


@dag(schedule=None, default_args=ON_EDGE)
def reschedule():
    @task.sensor(mode="reschedule", poke_interval=1, timeout=60)
    def look():
        note("looks", "look")
        return len((FOLDER / "looks").read_text().splitlines()) >= 3

    look()


@dag(schedule=None, default_args=ON_EDGE)
def slots():
    """Two tasks with three slots do not fit a worker with four slots at once."""

    @task(queue="slots", pool_slots=3)
    def wide():
        time.sleep(1)

    for name in ("first", "second"):
        wide.override(task_id=name)()


@dag(schedule=None, default_args=ON_EDGE)
def queues():
    @task
    def here(): ...

    here.override(task_id="on_default")()
    here.override(task_id="on_beta", queue="beta")()


@dag(schedule=None, default_args=ON_EDGE)
def two_executors():
    @task
    def say():
        return "said"

    say.override(task_id="edge")() >> say.override(task_id="local", executor=None)()


@dag(schedule=None, default_args=ON_EDGE)
def assets():
    """A task makes an event of an asset, the next one reads it."""
    plate = Asset("edge-tests-plate")

    @task(outlets=[plate])
    def press(*, outlet_events):
        outlet_events[plate].extra = {"thickness": 3}

    @task(inlets=[plate])
    def measure(*, inlet_events):
        return inlet_events[plate][-1].extra["thickness"]

    press() >> measure()


@dag(schedule=None, default_args=ON_EDGE)
def human():
    ask = HITLOperator(task_id="ask", subject="Start the press?", options=["yes", "no"])

    @task
    def obey(answer):
        return answer["chosen_options"]

    obey(ask.output)


def missed(**kwargs):
    note("deadline", kwargs["text"])


@dag(
    schedule=None,
    default_args=ON_EDGE,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=SyncCallback(missed, kwargs={"text": "deadline missed"}, **ON_EDGE),
    ),
)
def deadline():
    @task
    def slow():
        limit = time.monotonic() + 60
        while not (FOLDER / "deadline").exists() and time.monotonic() < limit:
            time.sleep(0.1)

    slow()


for make in (
    operators,
    mapping,
    secrets,
    setup_teardown,
    retries,
    fails,
    deferrable,
    reschedule,
    slots,
    queues,
    assets,
    human,
):
    make()
two_executors()
deadline()
