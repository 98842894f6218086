"""The helm command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


class HelmError(Exception):
    """helm failed; the message is its output."""


@dataclass(frozen=True)
class Helm:
    """helm for one namespace."""

    program: Path
    kubeconfig: Path
    namespace: str

    def __call__(self, *arguments: str, timeout_s: float = 400) -> str:
        """Run helm and return what it prints.

        Raises:
            HelmError: it failed.

        """
        command = [str(self.program), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise HelmError(done.stderr.strip())
        return done.stdout
