"""A virtual environment with the edge3 provider and the Airflow version that the project uses."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from edge_testing.repository import REPOSITORY

REQUIREMENTS = (
    "apache-airflow==3.3.2",
    "apache-airflow-providers-edge3==5.1.0",
    "apache-airflow-providers-standard",
    "asyncpg",
    "psycopg[binary]",
)


def edge3_python() -> Path:
    """Return the interpreter of the environment, which is installed on first use."""
    key = hashlib.sha256("\n".join((*REQUIREMENTS, sys.version)).encode()).hexdigest()[:12]
    folder = REPOSITORY / ".cache" / f"edge3-{key}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        uv = str(REPOSITORY / ".tools" / "bin" / "uv")
        pins = REPOSITORY / "requirements.lock"
        environment = {**os.environ, "VIRTUAL_ENV": str(folder), "UV_LINK_MODE": "copy"}
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        # The same pins as the project's, so that both sides run on the same libraries.
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--constraint", str(pins), *REQUIREMENTS], env=environment, check=True
        )
        ready.touch()
    return python
