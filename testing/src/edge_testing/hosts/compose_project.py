"""A folder with a Compose project, as the guide for hosts with containers makes one."""

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
    """Compose in its folder: Docker's, or podman-compose where images are built without Docker."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.name = folder.name
        docker = builder() == "docker"
        self._engine = "docker" if docker else "podman"
        self._compose = ["docker", "compose"] if docker else [str(Path(sys.executable).with_name("podman-compose"))]
        self._environ = {**os.environ, "EDGE_WORKER_IMAGE": image}
        # Any address would do that nobody else has; known beforehand, it can be the edge API's.
        network = f"10.211.{secrets.randbelow(256)}"
        self.host = f"{network}.1"
        """The host as the container sees it."""
        folder.mkdir()
        for name in ("compose.yaml", "worker.env.example"):
            shutil.copy(FOLDER / name, folder / name)
        # JSON is YAML.
        override = {
            # A host without the right to raise limits can't start a container with those of the engine.
            "services": {"worker": {"ulimits": {"nofile": 1024, "nproc": 1024}}},
            "networks": {"default": {"ipam": {"config": [{"subnet": f"{network}.0/24", "gateway": self.host}]}}},
        }
        (folder / "compose.override.yaml").write_text(json.dumps(override))

    def prepare(self, token: str, settings: dict[str, str]) -> None:
        """Do what the guide says before the start; `settings` are replacements in the example."""
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
        """Run lines of the guide."""
        subprocess.run(["sh", "-euc", script], cwd=self.folder, input=stdin, text=True, check=True)

    def guide(self, command: str, *more: str) -> str:
        """Run a command of Compose that the guide has, and return its output."""
        return self.compose(*_of_guide(command), *more)

    def compose(self, *arguments: str) -> str:
        """Run a command of Compose and return its output."""
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
        """Start a command of Compose that the guide has; what it says is in a file."""
        arguments = [*self._compose, *_of_guide(command)]
        with (self.folder / "compose.log").open("ab") as log:
            return subprocess.Popen(arguments, cwd=self.folder, env=self._environ, stdout=log, stderr=log)

    def engine(self, *arguments: str) -> str:
        """Run a command of the engine itself and return its output."""
        done = subprocess.run([self._engine, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def container(self) -> str:
        """Return the ID of the worker's container, also of one that has ended; empty if there is none."""
        return self.engine("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}")

    def exit_code(self) -> int:
        """Return with which code the container has ended."""
        status, code = self.engine(
            "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.container()
        ).split()
        assert status == "exited"
        return int(code)

    def healthy(self) -> bool:
        """Return what the health check of the container says."""
        if self._engine == "podman":
            # It leaves the interval to systemd, which need not be here.
            check = subprocess.run(["podman", "healthcheck", "run", self.container()], capture_output=True, check=False)
            return check.returncode == 0
        return self.engine("inspect", "--format", "{{.State.Health.Status}}", self.container()) == "healthy"

    def remove(self) -> None:
        """Remove what a test that failed has left."""
        if container := self.container():
            self.engine("rm", "--force", container)
        self.compose("down", "--volumes")


def _of_guide(command: str) -> list[str]:
    assert command in GUIDE.read_text(), f"the guide does not say: {command}"
    return shlex.split(command.removeprefix("docker compose "))
