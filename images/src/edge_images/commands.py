"""Runs other programs."""

import shutil
import subprocess


class UnavailableError(Exception):
    """A program is missing or failed on this machine; the message says what to install."""


def run(*command: str) -> str:
    """Run a command and return its output.

    Raises:
        UnavailableError: it failed; the message has the end of its output.

    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise UnavailableError(f"{' '.join(command[:4])} failed:\n{said}")
    return done.stdout


def docker_answers() -> bool:
    """Return whether a Docker daemon is available."""
    if not shutil.which("docker"):
        return False
    answer = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return answer.returncode == 0
