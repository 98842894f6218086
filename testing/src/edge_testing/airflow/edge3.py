"""A virtual environment with the edge3 provider and the Airflow version that the project uses."""

from pathlib import Path

from edge_testing.airflow.environment import Uv, environment
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

    def install(uv: Uv) -> None:
        # The same pins as the project's, so that both sides run on the same libraries.
        uv(["pip", "install", "--quiet", "--constraint", str(REPOSITORY / "requirements.lock"), *REQUIREMENTS])

    return environment("edge3", "\n".join(REQUIREMENTS), install)
