"""Builds the project's images with Docker or buildah, whichever is installed.

Nothing of this machine gets into an image. The builder stages use the index in `PIP_INDEX_URL` and the registry in
`NPM_CONFIG_REGISTRY`; buildah also mounts uv's cache into them, so that packages which `make setup` has downloaded are
not downloaded again.
"""

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from edge_images.base_image import base_image
from edge_images.cache import locked
from edge_images.commands import UnavailableError, docker_answers, run

ROOT = Path(__file__).parents[3]
TARGETS = ("edge-api", "operator", "worker", "airflow")
CERTIFICATES = "/etc/ssl/certs"
CACHE_IN_BUILD = "/var/cache/uv"


def builder() -> str:
    """Return the program that builds images on this machine.

    Raises:
        UnavailableError: there is none.

    """
    if docker_answers():
        return "docker"
    if shutil.which("buildah"):
        return "buildah"
    raise UnavailableError("no program to build images with: start Docker or install buildah")


def build(registry: str, tag: str, targets: Sequence[str] = TARGETS) -> dict[str, str]:
    """Build images and return their names by target."""
    names = {target: image_name(registry, target, tag) for target in targets}
    # A second build at the same time waits, and then finds the layers of the first.
    with locked("images"):
        command = [*_command(builder()), *_labels()]
        for target, name in names.items():
            run(*command, "--target", target, "--tag", name, str(ROOT))
    return names


def image_name(registry: str, target: str, tag: str) -> str:
    """Return the name of an image, composed as in the chart."""
    return f"{registry}/airflow-edge/{target}:{tag}".removeprefix("/")


def size(name: str) -> str:
    """Return the uncompressed size of an image, as text."""
    if builder() == "docker":
        return f"{int(run('docker', 'image', 'inspect', '--format', '{{.Size}}', name)) / 1e6:.0f} MB"
    found: str = json.loads(run("buildah", "images", "--json", name))[0]["size"]
    return found


def _command(program: str) -> list[str]:
    index = os.environ.get("PIP_INDEX_URL", "")
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "")
    arguments = ["--build-arg", f"PIP_INDEX_URL={index}", "--build-arg", f"NPM_REGISTRY={registry}"]
    base = os.environ.get("BASE_IMAGE")
    if program == "docker":
        return ["docker", "build", "--quiet", *arguments, *(["--build-arg", f"BASE_IMAGE={base}"] if base else [])]
    cache = _uv_cache()
    return [
        *("buildah", "build", "--quiet", "--layers", "--isolation", "chroot", "--network", "host"),
        *("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--volume", f"{cache}:{CACHE_IN_BUILD}"),
        *("--build-arg", f"UV_CACHE_DIR={CACHE_IN_BUILD}", "--build-arg", f"BASE_IMAGE={base or base_image()}"),
        *arguments,
    ]


def _uv_cache() -> Path:
    folder = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _labels() -> list[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    revision = git.stdout.strip() or "unknown"
    return ["--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={revision}"]
