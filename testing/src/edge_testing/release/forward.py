"""Forwards a local port to a Service or pod, and reconnects when the pod is replaced."""

import subprocess
import threading
from pathlib import Path
from typing import Self

from edge_demo.environment import LOCALHOST, free_port

RESTART_S = 0.5


class Forward:
    """`kubectl port-forward` on a fixed local port, restarted when it ends. A context manager."""

    def __init__(self, kubectl: list[str], target: str, port: int, log: Path) -> None:
        self._local = free_port()
        self._command = [*kubectl, "port-forward", target, f"{self._local}:{port}"]
        self._log = log
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_up, name=f"forward {target}", daemon=True)

    @property
    def url(self) -> str:
        """Local URL of the target."""
        return f"http://{LOCALHOST}:{self._local}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(timeout=30)

    def _keep_up(self) -> None:
        with self._log.open("ab") as log:
            while not self._closed.is_set():
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
                self._process.wait()
                self._closed.wait(RESTART_S)
