"""The warm runner process: imports once, forks a supervisor per task. Started by the agent only.

    python -m edge_worker.runner.template --control-fd N --lock-fd N

A module that cannot be imported is skipped. A module that starts a thread makes the process unfit as a template, since
threads do not survive a fork and their locks may stay held forever: the agent then starts another one without it.
"""

import gc
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_worker.runner.loop import Channel, RunnerLoop, Spawn, connect
from edge_worker.runner.observe import ImportObserver
from edge_worker.runner.task import Order, execute, fork_supervisor, run_and_record


class UnfitTemplateError(Exception):
    """The process must not be forked."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(f"{module}: {reason}")
        self.module = module
        self.reason = reason


def main() -> int:
    """Serve one agent; return the exit code of the process."""
    channel, _ = connect()
    first = channel.receive_one()
    if first is None:
        return 0
    try:
        observer, skipped = _prepare(channel, first["modules"])
    except UnfitTemplateError as error:
        channel.send(event="unfit", module=error.module, reason=error.reason)
        return 1
    except ImportError as error:
        channel.send(event="broken", reason=f"{type(error).__name__}: {error}")
        return 1
    # Before the first fork: children share memory that no collection writes to.
    gc.collect()
    gc.freeze()
    channel.send(event="ready", skipped=skipped, modules=len(sys.modules), resident_bytes=_resident_bytes())
    RunnerLoop(channel, _spawn(observer)).run()
    return 0


def _prepare(channel: Channel, modules: list[str]) -> tuple[ImportObserver, dict[str, str]]:
    """Import everything; return the observer of what tasks import beyond that, and the modules that failed.

    Raises:
        UnfitTemplateError: this process must not be forked.
        ImportError: Airflow cannot be imported.

    """
    # Not at the top: if Airflow cannot be imported, the agent gets the reason.
    from edge_worker.runner import warm  # noqa: PLC0415

    warm.fill_caches()
    if _thread_count() > 1:
        raise ImportError(
            "Airflow starts a thread when it is imported, so it cannot be forked; set EDGE_WORKER_FORK=false"
        )
    warm.log_problems_only()
    skipped = _preload(modules, channel)
    warm.adapt_airflow()
    observer = ImportObserver()
    warm.observe_tasks(observer)
    return observer, skipped


def _preload(modules: Iterable[str], channel: Channel) -> dict[str, str]:
    skipped: dict[str, str] = {}
    for name in modules:
        if name in sys.modules:
            continue
        # Before the import, not after: if it crashes the process, the agent knows which module it was.
        channel.send(event="importing", module=name)
        try:
            with warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code at import may raise anything
            skipped[name] = f"{type(error).__name__}: {error}"
        if _thread_count() > 1:
            raise UnfitTemplateError(name, "starts a thread when it is imported")
    return skipped


def _spawn(observer: ImportObserver) -> Spawn:
    def run(order: Order) -> None:
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            # Python reseeds its own generator after a fork; numpy's would return the same numbers in every task.
            numpy_random.seed()
        observer.folder = order.folder
        run_and_record(order, execute)
        observer.note("supervisor")

    def spawn(message: dict[str, Any], close_in_child: Callable[[], None]) -> int:
        return fork_supervisor(message, close_in_child, run)

    return spawn


def _thread_count() -> int:
    """Return the number of threads of this process, including native ones where the system lists them."""
    with suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir()))
    return threading.active_count()


def _resident_bytes() -> int | None:
    """Return the resident memory of this process, where the system reports it."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None


if __name__ == "__main__":
    sys.exit(main())
