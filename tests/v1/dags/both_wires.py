"""A DAG whose tasks run on a v1 worker, and one of them on a v2 worker."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG


def numbers() -> list[list[int]]:
    return [[1], [2], [3]]


def double(number: int) -> int:
    print(f"doubling {number}")  # noqa: T201  (a task prints into its log)
    return 2 * number


def total(values: Iterable[int]) -> int:
    return sum(values)


def fail_once(ti: Any) -> None:
    if ti.try_number == 1:
        raise RuntimeError("the first try fails")


def fail() -> None:
    print("about to fail")  # noqa: T201
    raise RuntimeError("this one always fails")


def say(where: str) -> None:
    print(f"said on {where}")  # noqa: T201


with DAG("both_wires", schedule=None, default_args={"queue": "old"}):
    generated = PythonOperator(task_id="numbers", python_callable=numbers)
    doubled = PythonOperator.partial(task_id="double", python_callable=double).expand(op_args=generated.output)
    summed = PythonOperator(task_id="total", python_callable=total, op_args=[doubled.output])
    flaky = PythonOperator(task_id="flaky", python_callable=fail_once, retries=1, retry_delay=timedelta(0))
    failing = PythonOperator(task_id="failing", python_callable=fail)
    elsewhere = PythonOperator(task_id="elsewhere", python_callable=say, op_args=["v2"], queue="new")
    last = PythonOperator(task_id="last", python_callable=say, op_args=["v1"], trigger_rule="all_done")
    [summed, flaky, failing, elsewhere] >> last
