"""A real Airflow with the fleet page, an administrator and a viewer."""

from pathlib import Path
from typing import Any, Final

from edge_demo.platform import EDGE_EXECUTOR, PlatformSpec, WorkerSpec
from edge_provider.ui import STATIC
from edge_testing.repository import REPOSITORY
from edge_testing.skipping import cannot_run

PASSWORDS: Final = {"anna": "anna-s-password", "vera": "vera-s-password"}
_USERS: Final = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "anna:admin,vera:viewer",
}


def spec_with_page(shared: Path, **more: Any) -> PlatformSpec:
    """Return a platform with two workers, whose tasks share a folder with the test."""
    if not STATIC.is_dir():
        cannot_run("the fleet page was not built: make setup needs npm's registry")
    folder = {"TEST_FOLDER": str(shared)}
    return PlatformSpec(
        dags=REPOSITORY / "tests" / "airflow" / "dags",
        executor=f"LocalExecutor,{EDGE_EXECUTOR}",
        workers=[
            WorkerSpec("alpha", env=folder),
            WorkerSpec("beta", ("beta",), 4, more.get("edge_apis", 1) - 1, folder),
        ],
        airflow_env={**folder, **_USERS},
        passwords=PASSWORDS,
        **more,
    )
