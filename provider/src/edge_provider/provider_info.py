"""What Airflow's provider manager reads. It is imported by every Airflow process, so it imports nothing itself."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as `airflow.provider_info.schema.json` has it."""
    return {
        "package-name": "airflow-edge-provider",
        "name": "Airflow Edge",
        "description": "Runs tasks on workers at remote sites that can only call out.",
        "executors": ["edge_provider.executor.EdgeExecutor"],
        "cli": ["edge_provider.cli.get_cli_commands"],
        "db-managers": ["edge_provider.db_manager.EdgeDBManager"],
        "remote-logging": [{"classpath": "edge_provider.log_reader.EdgeTaskLog", "scheme": "edge"}],
    }
