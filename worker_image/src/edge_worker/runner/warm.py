"""What a template does once so that no task has to: everything here is a cache that is the same for every task."""

from typing import Any

from airflow.sdk.execution_time import task_runner

from edge_worker.runner.child import Order, run_and_record, settle_in
from edge_worker.runner.execute import execute
from edge_worker.runner.observe import ImportObserver


def caches() -> None:
    """Fill caches."""


def observe_tasks(observer: ImportObserver) -> None:
    """Have each task's process note what it had to import."""
    task_runner.main = observer.watch(task_runner.main)


def run_forked(message: dict[str, Any], template_pid: int, observer: ImportObserver) -> None:
    """Run one task in a forked process."""
    settle_in(template_pid)
    order = Order.from_message(message)
    observer.folder = order.folder
    run_and_record(order, execute)
    observer.note("supervisor")
