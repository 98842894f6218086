"""The real agent with the runner of `shell_runner.py`: `python shell_agent.py run …`."""

import os
import sys

import edge_worker.agent
from edge_testing.workers.scripts import SHELL_RUNNER
from edge_worker.cli import main
from edge_worker.host.state import StateFolder, StateLocks
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.runners import RunnerPool


def runner_pool(settings: WorkerSettings, state: StateFolder, locks: StateLocks) -> RunnerPool:  # noqa: ARG001
    """Return a pool whose runners execute shell commands."""
    return RunnerPool(SHELL_RUNNER, lock_fd=locks.tasks.fileno(), environ=os.environ, learned=None)


edge_worker.agent.runner_pool = runner_pool
sys.exit(main())
