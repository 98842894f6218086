"""A runner whose workloads are shell commands: the real one without Airflow."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_worker.runner.loop import RunnerLoop, connect
from edge_worker.runner.task import Order, fork_supervisor, run_and_record


def execute(order: Order) -> int:
    """Run the workload with the shell, and return its exit code."""
    assert order.log_file is not None
    order.log_file.parent.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "EXECUTION_API": order.server or ""}
    with order.log_file.open("ab") as log:
        task = subprocess.Popen(["sh", "-c", order.workload], stdout=log, stderr=log, env=environ)
        # As Airflow's supervisor does.
        signal.signal(signal.SIGTERM, lambda number, _frame: task.send_signal(number))
        return task.wait()


def main() -> None:
    """Serve the agent as the real runner does."""
    channel, _ = connect()
    channel.receive_one()
    if gate := os.environ.get("SHELL_RUNNER_GATE"):
        # Opening a FIFO waits for the test.
        Path(gate).read_bytes()
    if os.environ.get("SHELL_RUNNER_BROKEN"):
        channel.send(event="broken", reason="broken by the test")
        sys.exit(1)

    def spawn(message: dict[str, Any], close_in_child: Callable[[], None]) -> int:
        return fork_supervisor(message, close_in_child, lambda order: run_and_record(order, execute))

    channel.send(event="ready", skipped={}, modules=0, resident_bytes=None)
    RunnerLoop(channel, spawn).run()


main()
