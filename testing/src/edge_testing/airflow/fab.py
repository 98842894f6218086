"""A virtual environment with Airflow and the FAB auth manager, and the project's provider."""

from pathlib import Path
from typing import Final

from edge_testing.airflow.environment import Uv, environment
from edge_testing.repository import REPOSITORY

FAB: Final = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
_LOCK: Final = REPOSITORY / "requirements" / "fab.txt"
_PARTS: Final = ("protocol", "store", "provider")


def fab_python() -> Path:
    """Return the interpreter of the environment, which is installed on first use."""
    parts = [argument for part in _PARTS for argument in ("--editable", str(REPOSITORY / part))]

    def install(uv: Uv) -> None:
        uv(["pip", "sync", "--quiet", "--require-hashes", str(_LOCK)])
        uv(["pip", "install", "--quiet", "--no-deps", *parts])

    return environment("fab", _LOCK.read_text(), install)
