"""A host with systemd: a container whose first process is systemd, with the rights to set up sandboxes."""

import subprocess
from pathlib import Path

from edge_images.commands import run
from edge_testing.hosts.unit_file import SYSTEMD
from edge_testing.repository import REPOSITORY

GUIDE = REPOSITORY / "docs" / "bare-host-systemd.md"
INSTALLER = "/root/systemd"
TIMEOUT_S = 120


class SystemdHost:
    """A container with the installer and the wheels in the guide's folders, and DAG files."""

    def __init__(self, name: str, image: str, dags: Path, wheels: Path) -> None:
        self.name = name
        self.image = image
        self._mounts = {dags: "/srv/dags", wheels: "/srv/wheels"}
        self._network = f"{name}-network"
        run("podman", "network", "create", self._network)
        gateway = "{{(index .Subnets 0).Gateway}}"
        self.address = run("podman", "network", "inspect", "--format", gateway, self._network).strip()
        """This machine's address as the host sees it."""

    def boot(self) -> None:
        """Start it for the first time."""
        mounts = [f"--volume={here}:{there}:ro" for here, there in self._mounts.items()]
        # systemd needs to mount file systems.
        rights = ["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined"]
        # A machine without the right to raise limits can't start a container with those of the engine.
        rights += ["--ulimit=nofile=1024", "--ulimit=nproc=1024"]
        kind = ["--systemd=always", "--cgroupns=private", "--hostname=plant-7", f"--network={self._network}"]
        run("podman", "run", "--detach", "--name", self.name, *kind, *rights, *mounts, self.image)
        run("podman", "cp", str(SYSTEMD), f"{self.name}:{INSTALLER}")
        self.shell("mkdir wheels && ln -s /srv/packages/*.whl /srv/wheels/*.whl wheels/")

    def reboot(self) -> subprocess.Popen[bytes]:
        """Start to reboot it."""
        return subprocess.Popen(["podman", "restart", "--time", str(TIMEOUT_S), self.name], stdout=subprocess.DEVNULL)

    def run(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, in the installer's folder."""
        return subprocess.run(
            self._command(script), input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )

    def shell(self, script: str, stdin: str = "") -> str:
        """Run a shell script that must succeed, and return its output."""
        done = self.run(script, stdin)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Start a shell script without waiting for its end."""
        return subprocess.Popen(self._command(script))

    def show(self, worker: str, *names: str) -> list[str]:
        """Return properties of a worker's service."""
        arguments = " ".join(f"--property={name}" for name in names)
        found = dict(
            line.split("=", 1) for line in self.shell(f"systemctl show {arguments} edge-worker@{worker}").splitlines()
        )
        return [found[name] for name in names]

    def journal(self, worker: str) -> list[str]:
        """Return the log lines of a worker itself."""
        return self.shell(
            f"journalctl --quiet --output=cat --identifier=edge-worker --unit=edge-worker@{worker}"
        ).splitlines()

    def remove(self) -> None:
        """Remove the container and its network."""
        run("podman", "rm", "--force", "--ignore", "--time", "0", self.name)
        run("podman", "network", "rm", self._network)

    def _command(self, script: str) -> list[str]:
        return ["podman", "exec", "--interactive", "--workdir", INSTALLER, self.name, "sh", "-euc", script]


def guide(command: str) -> str:
    """Return a command, after checking that the guide contains it."""
    assert command in GUIDE.read_text(), f"the guide does not say: {command}"
    return command
