"""Work that is the same for every task, done once in the template."""

import logging
import signal
import time
from functools import wraps
from typing import Any

import structlog
from airflow.sdk.api import client
from airflow.sdk.execution_time import supervisor, task_runner

from edge_worker.runner.observe import ImportObserver
from edge_worker.runner.task import airflow_calls

_EXIT_LOOK_S = 0.01
_CHATTER = frozenset({"debug", "info"})
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)


def fill_caches() -> None:
    """Fill the caches that every supervisor would otherwise fill for itself."""
    airflow_calls()
    # Reading the system's certificates is half of a supervisor's CPU time.
    client.Client._get_ssl_context_cached(client.API_SSL_CA_FILE_PATH, client.API_SSL_CERT_PATH)  # noqa: SLF001 - the cache


def log_problems_only() -> None:
    """Limit supervisors to warnings and errors in the worker's own log; task logs are not affected."""

    def drop_chatter(_logger: Any, method: str, event: Any) -> Any:
        if method in _CHATTER:
            raise structlog.DropEvent
        return event

    processors = structlog.get_config()["processors"]
    # Without caching: the task's process configures logging again, and loggers made before must follow.
    structlog.configure(processors=[drop_chatter, *processors], cache_logger_on_first_use=False)
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)


def adapt_airflow() -> None:
    """Change what Airflow does in every task's processes."""
    notice_exits_at_once()
    let_crashes_end_tasks()
    count_overtime_from_the_stored_state()


def notice_exits_at_once() -> None:
    """Make Airflow's supervisor notice the end of its task without delay.

    It waits up to five seconds for events of the task's sockets, and checks after each whether the process has ended.
    When the last socket closes a moment before the process ends, no event comes and those seconds are lost. With
    several tasks on few cores that happens to most of them.
    """
    serve = supervisor.WatchedSubprocess._service_subprocess  # noqa: SLF001 - no public hook

    @wraps(serve)
    def serve_briefly(self: Any, max_wait_time: float, *args: Any, **kwargs: Any) -> Any:
        if not self._open_sockets:
            max_wait_time = min(max_wait_time, _EXIT_LOOK_S)
        return serve(self, max_wait_time, *args, **kwargs)

    supervisor.WatchedSubprocess._service_subprocess = serve_briefly  # noqa: SLF001 - as above


def let_crashes_end_tasks() -> None:
    """Keep the default action of signals that report a crash in C, so that the task's process ends with that signal.

    Airflow registers a Python handler for SIGSEGV before it imports the DAG file in the task's process. Such a handler
    only runs after C code has returned, so the process executes the faulting instruction again, forever.
    """
    parse = task_runner.parse
    register = signal.signal

    def register_others(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in _CRASHES else register(number, handler)

    @wraps(parse)
    def parse_with_defaults(*args: Any, **kwargs: Any) -> Any:
        for number in _CRASHES:
            # One in C is left alone: Python's own faulthandler ends the process, too.
            if callable(handler := signal.getsignal(number)) or handler is signal.SIG_IGN:
                register(number, signal.SIG_DFL)
        signal.signal = register_others  # type: ignore[assignment]  # its first parameter is named otherwise
        try:
            return parse(*args, **kwargs)
        finally:
            signal.signal = register

    task_runner.parse = parse_with_defaults


def count_overtime_from_the_stored_state() -> None:
    """Let a task's overtime begin when Airflow has its final state, not when the supervisor began to send it.

    Callbacks of a task run after that and may take `[core] task_success_overtime` (20 s). The relay holds the call that
    sends the state for as long as the line is cut, and all of that would count: Airflow's supervisor would then end the
    callbacks at once, and the task would be reported as failed.
    """
    send = supervisor.ActivitySubprocess._send_terminal_state_msg  # noqa: SLF001 - no public hook

    @wraps(send)
    def send_and_restart(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = send(self, *args, **kwargs)
        if self._task_end_time_monotonic is not None:
            self._task_end_time_monotonic = time.monotonic()
        return answer

    supervisor.ActivitySubprocess._send_terminal_state_msg = send_and_restart  # noqa: SLF001 - as above


def observe_tasks(observer: ImportObserver) -> None:
    """Make each task's process write down which modules it had to import."""
    task_runner.main = observer.watch(task_runner.main)
