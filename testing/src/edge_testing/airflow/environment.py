"""Virtual environments beside the project's own: installed once, kept in `.cache`."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_images.cache import locked
from edge_testing.repository import REPOSITORY

Uv = Callable[[Sequence[str]], None]
"""Runs uv for the environment."""

_UV = REPOSITORY / ".tools" / "bin" / "uv"


def environment(name: str, content: str, install: Callable[[Uv], None]) -> Path:
    """Return the interpreter of an environment; `install` is called with uv once for each `content`."""
    key = hashlib.sha256(f"{content}\n{sys.version}".encode()).hexdigest()[:12]
    folder = REPOSITORY / ".cache" / f"{name}-{key}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    variables = {**os.environ, "VIRTUAL_ENV": str(folder), "UV_LINK_MODE": "copy"}

    def uv(arguments: Sequence[str]) -> None:
        subprocess.run([str(_UV), *arguments], env=variables, check=True)

    with locked(name):
        if not ready.exists():
            uv(["venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            install(uv)
            ready.touch()
    return python
