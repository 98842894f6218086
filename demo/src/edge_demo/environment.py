"""Environment variables of each process of the platform.

Workers get an environment of their own, as at a remote site: Airflow's database and its secrets are not in it.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

LOCALHOST = "127.0.0.1"
PASSWORDS = "passwords.json"
_FOREIGN = ("AIRFLOW", "EDGE_", "PYTEST_", "PYTHON")
"""Prefixes of variables that would change the behaviour of child processes."""


def free_port() -> int:
    """Return a free TCP port of this host."""
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        port: int = listener.getsockname()[1]
    return port


def base_env(home: Path) -> dict[str, str]:
    """Return the caller's environment without variables that configure Airflow, Python or this project."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    # The output of child processes is read while they run.
    return env | {"AIRFLOW_HOME": str(home), "PYTHONUNBUFFERED": "1", "NO_PROXY": LOCALHOST, "no_proxy": LOCALHOST}


def airflow_env(
    *, home: Path, dags: Path, database_url: str, url: str, executor: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of Airflow's own components: one node, everyone an admin, fresh secrets."""
    settings = {
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / PASSWORDS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "AIRFLOW__API__HOST": LOCALHOST,
        "AIRFLOW__API__PORT": str(urlsplit(url).port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(48),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "edge_provider.logging_config.LOGGING_CONFIG",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # Servers of the scheduler (for LocalExecutor) and the triggerer; their default ports may be taken.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }
    return base_env(home) | settings | dict(extra)


def fleet_page_env(*, admin_api_url: str, api_url: str, token_file: Path) -> dict[str, str]:
    """Return what the api-server needs for the fleet page, beside its own environment."""
    return {
        "AIRFLOW__EDGE__ADMIN_API_URL": admin_api_url,
        "AIRFLOW__EDGE__ADMIN_TOKEN_FILE": str(token_file),
        "AIRFLOW__EDGE__API_URL": api_url,
    }


def edge_api_env(*, home: Path, database_url: str, airflow_url: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the edge API, which forwards the calls of tasks to Airflow."""
    settings = {
        "EDGE_API_DATABASE_URL": database_url,
        "EDGE_API_HOST": LOCALHOST,
        "EDGE_API_EXECUTION_API_URL": f"{airflow_url}/execution/",
    }
    return base_env(home) | settings | dict(extra)


def worker_env(*, home: Path, dags: Path, executor: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: settings that DAG files need, and nothing else of the control plane.

    It has the executors, since Airflow refuses a DAG file with a task whose executor is not in `[core] executor`, even
    on a worker.
    """
    settings = {
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "EDGE_WORKER_STATE_DIR": str(home / "state"),
    }
    return base_env(home) | settings | dict(extra)
