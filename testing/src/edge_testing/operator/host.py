"""A bare host at a site: a real agent that Kubernetes does not manage."""

import os
import sys
from typing import Self

from edge_demo.processes import ManagedProcess
from edge_testing.edge_api.commands import join_token
from edge_testing.operator.site import Site
from edge_testing.workers.scripts import SHELL_AGENT


class Host(ManagedProcess):
    """`edge-worker run` under a name, which enrols at its first start; use it as a context manager."""

    def __init__(self, site: Site, name: str, token: str | None = None) -> None:
        folder = site.folder / f"host-{name}"
        folder.mkdir()
        token_file = folder / "token"
        token_file.write_text(token if token is not None else join_token(site.api.database))
        environment = {
            **os.environ,
            "EDGE_WORKER_API_URL": site.api.url,
            "EDGE_WORKER_NAME": name,
            "EDGE_WORKER_QUEUES": "press",
            "EDGE_WORKER_STATE_DIR": str(folder / "state"),
            "EDGE_WORKER_JOIN_TOKEN_FILE": str(token_file),
        }
        super().__init__(name, [sys.executable, str(SHELL_AGENT), "run"], environment, folder / "log", folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def crash(self) -> None:
        """Kill the agent and what it started."""
        if self.running:
            self.kill()
        self.stop()
