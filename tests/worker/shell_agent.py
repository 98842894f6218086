"""The real agent with the runner of `shell_runner.py`: `python shell_agent.py run …`."""

import os
import sys
from pathlib import Path

import edge_worker.main
from edge_worker.cli import main
from edge_worker.host.state import StateFolder, StateLocks
from edge_worker.settings import WorkerSettings
from edge_worker.tasks.launcher import Launcher
from edge_worker.tasks.runners import RunnerPool


def make_launcher(settings: WorkerSettings, state: StateFolder, locks: StateLocks) -> Launcher:
    command = [sys.executable, str(Path(__file__).with_name("shell_runner.py"))]
    return RunnerPool(command, lock_fd=locks.tasks.fileno(), environ=os.environ, learned=None)


edge_worker.main.make_launcher = make_launcher
sys.exit(main())
