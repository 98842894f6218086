"""The fleet page: a plugin of Airflow's UI, and the thin backend that its pages call.

Airflow's api-server mounts the backend. It authenticates the Airflow user, decides what they may see and do, and calls
the admin API with a credential of its own, which no browser ever sees.
"""

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
"""Files that `make setup` builds from `provider/ui`."""
