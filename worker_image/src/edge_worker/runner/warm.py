"""What a template does once so that no task has to: everything here is the same for every task."""

import logging
import sys
from functools import wraps
from typing import Any

import structlog
from airflow.sdk.api import client
from airflow.sdk.execution_time import supervisor, task_runner

from edge_worker.runner.child import Order, run_and_record, settle_in
from edge_worker.runner.execute import execute
from edge_worker.runner.observe import ImportObserver

_EXIT_LOOK_S = 0.01
_CHATTER = frozenset({"debug", "info"})


def caches() -> None:
    """Fill caches."""
    # Reading the system's certificates is half of a supervisor's CPU time.
    client.Client._get_ssl_context_cached(client.API_SSL_CA_FILE_PATH, client.API_SSL_CERT_PATH)  # noqa: SLF001 - the cache


def log_problems_only() -> None:
    """Have supervisors write to the worker's own log only what is a warning or worse; task logs are not touched."""

    def drop_chatter(_logger: Any, method: str, event: Any) -> Any:
        if method in _CHATTER:
            raise structlog.DropEvent
        return event

    processors = structlog.get_config()["processors"]
    # Nothing may be cached: the task's process configures its logging anew, and its loggers have to follow that.
    structlog.configure(processors=[drop_chatter, *processors], cache_logger_on_first_use=False)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)


def notice_exits_at_once() -> None:
    """Have Airflow's supervisor see the end of its task without delay.

    It waits for events of the task's sockets, up to five seconds, and looks for the end of the process after each. When
    the last socket closes a moment before the process is gone, nothing wakes it any more and those seconds are lost;
    with several tasks on few cores that hits most of them.
    """
    serve = supervisor.WatchedSubprocess._service_subprocess  # noqa: SLF001 - no public hook

    @wraps(serve)
    def serve_briefly(self: Any, max_wait_time: float, *args: Any, **kwargs: Any) -> Any:
        if not self._open_sockets:
            max_wait_time = min(max_wait_time, _EXIT_LOOK_S)
        return serve(self, max_wait_time, *args, **kwargs)

    supervisor.WatchedSubprocess._service_subprocess = serve_briefly  # noqa: SLF001 - as above


def observe_tasks(observer: ImportObserver) -> None:
    """Have each task's process note what it had to import."""
    task_runner.main = observer.watch(task_runner.main)


def run_forked(message: dict[str, Any], template_pid: int, observer: ImportObserver) -> None:
    """Run one task in a forked process."""
    settle_in(template_pid)
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        # Python's own generator is seeded anew after a fork; this one would draw the same numbers in every task.
        numpy_random.seed()
    order = Order.from_message(message)
    observer.folder = order.folder
    run_and_record(order, execute)
    observer.note("supervisor")
