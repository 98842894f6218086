"""The operator as a process of its own, under its ServiceAccount's token."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from edge_demo.environment import LOCALHOST, free_port
from edge_demo.processes import ManagedProcess, answers, wait_until

DEADLINE_S = 60.0


class OperatorProcess(ManagedProcess):
    """`edge-operator run`, on a port that it keeps over restarts; `settings` are those of the operator, by name."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: Any) -> None:
        self.url = f"http://{LOCALHOST}:{(port := free_port())}"
        self.roles_were_away = False
        """Set by a test that restarts the apiserver, which refuses everything until it has read its roles."""
        given = {"kubeconfig": kubeconfig, "port": port, "host": LOCALHOST, **settings}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGE_OPERATOR_")},
            **{f"EDGE_OPERATOR_{name.upper()}": str(value) for name, value in given.items()},
        }
        super().__init__(
            "edge-operator", [sys.executable, "-m", "edge_operator.cli", "run"], environment, log, log.parent
        )

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        super().start()
        wait_until(lambda: answers(f"{self.url}/healthz"), "the operator is healthy", DEADLINE_S, [self])

    def metrics(self) -> str:
        """Return its metrics in Prometheus' text format."""
        return httpx.get(f"{self.url}/metrics", timeout=5, trust_env=False).raise_for_status().text

    def pause(self) -> None:
        """Stop its execution, as on a machine that is suspended."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue its execution."""
        self.signal(signal.SIGCONT)

    def rss_mb(self) -> float:
        """Return its resident memory in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def problems(self) -> list[str]:
        """Return what it logged of mistakes of its own and of missing rights."""
        lines = [line for line in self.log.read_text().splitlines() if line]
        found = []
        for line in lines:
            try:
                message = json.loads(line)["message"]
            except ValueError:
                # Not of its log: a traceback, or a warning of the interpreter.
                found.append(line)
                continue
            # A namespace that goes away forbids new objects, whoever asks.
            refused = "forbidden" in message.lower() and "being terminated" not in message
            missing_right = refused and not self.roles_were_away
            if missing_right or "a mistake in the operator" in message:
                found.append(line)
        return found
