"""The description that Airflow's provider manager reads. Every Airflow process imports it, so it imports nothing."""

from typing import Any


def _option(description: str, example: str | None = None, default: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": example,
        "default": default,
        **more,
    }


_OPTIONS = {
    "admin_api_url": _option(
        "Base URL of the edge API for the commands `airflow edge …` and the fleet page.",
        example="https://airflow.example.com",
    ),
    "admin_token": _option("Admin credential for both (`edge-api credential create`).", sensitive=True),
    "admin_token_file": _option(
        "File with that credential, in place of admin_token.", example="/run/secrets/edge-admin"
    ),
    "api_url": _option(
        "Base URL of the edge API that sites call: for `airflow edge worker`, and in the commands that the fleet page "
        "shows; a path that begins with /edge_worker is ignored.",
        example="https://airflow.example.com",
    ),
    "callback_queue": _option(
        "Queue of callbacks that run on edge workers, such as those of deadlines. If empty, [operators] default_queue.",
        example="callbacks",
    ),
    "worker_concurrency": _option(
        "Slots of a worker that `airflow edge worker` starts; the worker's own default is 8."
    ),
    "worker_umask": _option("Umask of a worker that is started with --daemon, octal.", example="0o077"),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as `airflow.provider_info.schema.json` has it."""
    return {
        "package-name": "airflow-edge-provider",
        "name": "Airflow Edge",
        "description": "Runs tasks on workers at remote sites that can only make outbound connections.",
        "executors": ["edge_provider.executor.EdgeExecutor"],
        "cli": ["edge_provider.commands.parser.get_cli_commands"],
        "db-managers": ["edge_provider.db_manager.EdgeDBManager"],
        "config": {"edge": {"description": "Edge workers and the edge API.", "options": _OPTIONS}},
        "remote-logging": [{"classpath": "edge_provider.log_reader.EdgeTaskLog", "scheme": "edge"}],
    }
