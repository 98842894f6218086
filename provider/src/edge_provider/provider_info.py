"""What Airflow's provider manager reads."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as `airflow.provider_info.schema.json` has it."""
    return {"package-name": "airflow-edge-provider", "name": "Airflow Edge", "description": "Edge workers."}
