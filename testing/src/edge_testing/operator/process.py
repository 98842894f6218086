"""The operator as a process of its own, under its ServiceAccount's token."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from edge_testing.kubernetes.control_plane import free_ports
from edge_testing.waiting import eventually


class OperatorProcess:
    """`edge-operator run`, on a port that it keeps over restarts."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: Any) -> None:
        self.log = log
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None
        self.roles_were_away = False
        """Set by a test that restarts the apiserver: it refuses everything until it has read its roles."""
        given = {"kubeconfig": kubeconfig, "port": self.port, "host": "127.0.0.1", **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGE_OPERATOR_")},
            **{f"EDGE_OPERATOR_{name.upper()}": str(value) for name, value in given.items()},
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "edge_operator.cli", "run"]
            self.process = subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)
        eventually(self._healthy, f"the operator answers; its log: {self.log}")

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the operator has ended: {self.log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metrics(self) -> str:
        """Return what it tells Prometheus."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def pause(self) -> None:
        """Have it stand still, as on a machine that is suspended."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(what)

    def kill(self) -> None:
        """End it with -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as a cluster does; return the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def rss_mb(self) -> float:
        """Return its resident memory in MB."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
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
