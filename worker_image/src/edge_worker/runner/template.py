"""The warm runner process: imports once, forks a supervisor per task. Started by the agent only.

python -m edge_worker.runner.template --control-fd N --lock-fd N
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from edge_worker.host import processes
from edge_worker.runner import preload
from edge_worker.runner.channel import Channel
from edge_worker.runner.loop import RunnerLoop
from edge_worker.runner.observe import ImportObserver


def main() -> int:
    """Serve one agent; return the exit code of the process."""
    channel, _ = connect()
    first = channel.receive_one()
    if first is None:
        return 0
    try:
        spawn, skipped = build(channel, first["modules"])
    except preload.UnfitTemplateError as error:
        channel.send(event="unfit", module=error.module, reason=error.reason)
        return 1
    except ImportError as error:
        channel.send(event="broken", reason=f"{type(error).__name__}: {error}")
        return 1
    preload.freeze()
    channel.send(event="ready", skipped=skipped, modules=len(sys.modules), resident_bytes=preload.resident_bytes())
    RunnerLoop(channel, spawn).run()
    return 0


def connect() -> tuple[Channel, int]:
    """Return the channel to the agent and the descriptor of the lock, both named on the command line."""
    parser = argparse.ArgumentParser(prog="edge-worker-runner")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--lock-fd", type=int, required=True, help="stays open in every task process, and in no other")
    arguments = parser.parse_args()
    os.set_inheritable(arguments.lock_fd, False)
    processes.adopt_orphans()
    return Channel(arguments.control_fd), arguments.lock_fd


def build(channel: Channel, modules: list[str]) -> tuple[Callable[..., int], dict[str, str]]:
    """Import everything and return what starts a task, and the modules that could not be imported.

    Raises:
        preload.UnfitTemplateError: this process must not be forked.
        ImportError: Airflow cannot be imported.

    """
    # Only now, so that the agent is told why where Airflow cannot be imported.
    from edge_worker.runner import warm  # noqa: PLC0415

    if preload.thread_count() > 1:
        raise ImportError(
            "Airflow starts a thread when it is imported, so it cannot be forked; set EDGE_WORKER_FORK=false"
        )
    warm.log_problems_only()
    skipped = preload.preload(modules, channel)
    warm.caches()
    warm.notice_exits_at_once()
    observer = ImportObserver()
    warm.observe_tasks(observer)

    def spawn(message: dict[str, Any], let_go: Callable[[], None]) -> int:
        template_pid = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            let_go()
            warm.run_forked(message, template_pid, observer)
            status = 0
        except BaseException:  # noqa: BLE001 - never back into the template's loop, whatever was raised
            traceback.print_exc()
        finally:
            os._exit(status)

    return spawn, skipped


if __name__ == "__main__":
    sys.exit(main())
