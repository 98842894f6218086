"""What `install.sh` installs, as an administrator prepares it on another machine."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_testing.repository import REPOSITORY

UV = REPOSITORY / ".tools" / "bin" / "uv"
LOCK = REPOSITORY / "requirements" / "worker.txt"


@dataclass(frozen=True)
class AgentPrograms:
    """The agent without Airflow, whose hundred packages most tests do not need."""

    wheels: Path
    """Folder with its wheels, dependencies included."""
    requirements: Path
    """The same packages as a requirements file with hashes."""


def build_wheels(folder: Path) -> None:
    """Build the wheels of this project's packages that a worker needs."""
    for member in ("protocol", "worker_image"):
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, REPOSITORY / member)


def fetch_agent(folder: Path, own_wheels: Path) -> AgentPrograms:
    """Prepare the agent in an empty folder; versions are those of the lock file."""
    made = AgentPrograms(wheels=folder / "wheels", requirements=folder / "requirements.txt")
    name = folder / "requirements.in"
    name.write_text("airflow-edge-worker\n")
    places = ("--constraint", LOCK, "--find-links", own_wheels, "--output-file", made.requirements)
    _run(UV, "pip", "compile", "--quiet", "--generate-hashes", *places, name)
    # The interpreter of the virtual environment has no pip.
    python = Path(sys.base_prefix, "bin", "python3")
    exactly = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", made.requirements)
    _run(python, "-m", "pip", "download", "--quiet", "--find-links", own_wheels, "--dest", made.wheels, *exactly)
    return made


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=300)
