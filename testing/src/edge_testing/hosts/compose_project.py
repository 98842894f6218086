"""A Compose project, set up as docs/bare-host-compose.md describes."""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edge_images.build import builder
from edge_testing.repository import REPOSITORY

DAGS = Path(__file__).with_name("dags")
GUIDE = REPOSITORY / "docs" / "bare-host-compose.md"
FOLDER = REPOSITORY / "worker_image"
TIMEOUT_S = 120


class Project:
    """Compose in a folder: Docker's, or podman-compose where Docker is not available."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.name = folder.name
        docker = builder() == "docker"
        self._engine = "docker" if docker else "podman"
        self._compose = ["docker", "compose"] if docker else [str(Path(sys.executable).with_name("podman-compose"))]
        self._environ = {**os.environ, "EDGE_WORKER_IMAGE": image}
        # An unused range. The host's address is chosen here: the edge API listens there before the network exists.
        network = f"10.211.{secrets.randbelow(256)}"
        self.host = f"{network}.1"
        """The host as the container sees it."""
        folder.mkdir()
        for name in ("compose.yaml", "worker.env.example"):
            shutil.copy(FOLDER / name, folder / name)
        # JSON is YAML.
        override = {
            # A host without the right to raise limits can't start a container with the engine's default limits.
            "services": {"worker": {"ulimits": {"nofile": 1024, "nproc": 1024}}},
            "networks": {"default": {"ipam": {"config": [{"subnet": f"{network}.0/24", "gateway": self.host}]}}},
        }
        (folder / "compose.override.yaml").write_text(json.dumps(override))

    def prepare(self, token: str, settings: dict[str, str]) -> None:
        """Run the guide's steps before the start; `settings` are replacements in the example of worker.env."""
        script = re.search(r"^```\n(.*?)^docker compose up", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
        assert script is not None
        self.shell(script[1], token)
        file = self.folder / "worker.env"
        text = file.read_text()
        for old, new in settings.items():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        shutil.copy(DAGS / "d.py", self.folder / "dags")

    def shell(self, script: str, stdin: str = "") -> None:
        """Run shell commands of the guide."""
        subprocess.run(["sh", "-euc", script], cwd=self.folder, input=stdin, text=True, check=True)

    def guide(self, command: str, *more: str) -> str:
        """Run a Compose command that the guide contains, and return its output."""
        return self.compose(*_of_guide(command), *more)

    def compose(self, *arguments: str) -> str:
        """Run a Compose command and return its output."""
        done = subprocess.run(
            [*self._compose, *arguments],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a Compose command that the guide contains; its output goes to a file."""
        arguments = [*self._compose, *_of_guide(command)]
        with (self.folder / "compose.log").open("ab") as log:
            return subprocess.Popen(arguments, cwd=self.folder, env=self._environ, stdout=log, stderr=log)

    def engine(self, *arguments: str) -> str:
        """Run a command of the container engine and return its output."""
        done = subprocess.run([self._engine, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def container(self) -> str:
        """Return the ID of the worker's container, even if it has stopped; empty if there is none."""
        return self.engine("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}")

    def exit_code(self) -> int:
        """Return the exit code of the stopped container."""
        status, code = self.engine(
            "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.container()
        ).split()
        assert status == "exited"
        return int(code)

    def healthy(self) -> bool:
        """Return whether the container's health check succeeds."""
        if self._engine == "podman":
            # Podman leaves the interval to systemd, which this machine may lack.
            check = subprocess.run(["podman", "healthcheck", "run", self.container()], capture_output=True, check=False)
            return check.returncode == 0
        return self.engine("inspect", "--format", "{{.State.Health.Status}}", self.container()) == "healthy"

    def remove(self) -> None:
        """Remove the container and volumes that a failed test left behind."""
        if container := self.container():
            self.engine("rm", "--force", container)
        self.compose("down", "--volumes")


def _of_guide(command: str) -> list[str]:
    assert command in GUIDE.read_text(), f"the guide does not say: {command}"
    return shlex.split(command.removeprefix("docker compose "))
