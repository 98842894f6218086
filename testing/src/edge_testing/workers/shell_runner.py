"""A runner whose workloads are shell commands: everything of the real one but Airflow."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_worker.runner.child import Order, run_and_record, settle_in
from edge_worker.runner.loop import RunnerLoop
from edge_worker.runner.template import connect


def execute(order: Order) -> int:
    assert order.log_file is not None
    order.log_file.parent.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "EXECUTION_API": order.server or ""}
    with order.log_file.open("ab") as log:
        task = subprocess.Popen(["sh", "-c", order.workload], stdout=log, stderr=log, env=environ)
        # As Airflow's supervisor does it.
        signal.signal(signal.SIGTERM, lambda number, _frame: task.send_signal(number))
        return task.wait()


def main() -> None:
    channel, _ = connect()
    channel.receive_one()
    if gate := os.environ.get("SHELL_RUNNER_GATE"):
        # A FIFO: opening it waits for the test.
        Path(gate).read_bytes()
    if os.environ.get("SHELL_RUNNER_BROKEN"):
        channel.send(event="broken", reason="told so by the test")
        sys.exit(1)

    def spawn(message: dict[str, Any], let_go: Callable[[], None]) -> int:
        runner = os.getpid()
        pid = os.fork()
        if pid == 0:
            let_go()
            settle_in(runner)
            run_and_record(Order.from_message(message), execute)
            os._exit(0)
        return pid

    channel.send(event="ready", skipped={}, modules=0, resident_bytes=None)
    RunnerLoop(channel, spawn).run()


main()
