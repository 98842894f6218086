"""A bare host at a site: a real agent that nobody but its owner runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from edge_testing.edge_api.commands import join_token
from edge_testing.operator.site import Site
from edge_testing.workers.scripts import SHELL_AGENT


class Host:
    """`edge-worker run` under a name; use it as a context manager."""

    def __init__(self, site: Site, name: str, token: str | None = None, queues: str = "press") -> None:
        self.folder = site.folder / f"host-{name}"
        self.folder.mkdir()
        self.name = name
        token_file = self.folder / "token"
        token_file.write_text(token if token is not None else join_token(site.api.database))
        self._environment = {
            **os.environ,
            "EDGE_WORKER_API_URL": site.api.url,
            "EDGE_WORKER_NAME": name,
            "EDGE_WORKER_QUEUES": queues,
            "EDGE_WORKER_STATE_DIR": str(self.folder / "state"),
            "EDGE_WORKER_JOIN_TOKEN_FILE": str(token_file),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Host":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def start(self) -> None:
        """Start the agent, which enrols at its first start."""
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, str(SHELL_AGENT), "run"]
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def running(self) -> bool:
        """Whether the agent is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        """What the agent logged."""
        return self.folder / "log"

    def end(self, how: signal.Signals) -> None:
        """End the agent and what it started."""
        if self.process is not None and self.running:
            os.killpg(self.process.pid, how)
            self.process.wait(30)
