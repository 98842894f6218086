"""Commands that this provider adds to `airflow`: none so far.

The provider's description names this, because Airflow would otherwise import the executor for every command to ask it.
"""

from typing import Any


def get_cli_commands() -> list[Any]:
    """Return the groups of commands."""
    return []
