"""Build the project's images with Docker or buildah, whichever is here: `make images`.

Nothing of this machine gets into an image. The builder stage uses the index that `PIP_INDEX_URL` names; buildah also
lends it uv's own cache, so that what `make setup` has fetched is not fetched again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.base_image import base_image, run
from tests.cluster.binaries import NoClusterError, docker_answers
from tests.cluster.cache import locked

ROOT = Path(__file__).parents[2]
TARGETS = ("edge-api", "operator", "worker", "airflow")
CERTIFICATES = "/etc/ssl/certs"
CACHE_IN_BUILD = "/var/cache/uv"


def builder() -> str:
    """Return the program that builds images here.

    Raises:
        NoClusterError: there is none.

    """
    if docker_answers():
        return "docker"
    if shutil.which("buildah"):
        return "buildah"
    raise NoClusterError("no program to build images with: start Docker or install buildah")


def build(registry: str, tag: str, targets: Sequence[str] = TARGETS) -> dict[str, str]:
    """Build images and return their names by target."""
    names = {target: image_name(registry, target, tag) for target in targets}
    # Who comes second finds the layers of the first, and does not make them once more at the same time.
    with locked("images"):
        command = [*_command(builder()), *_labels()]
        for target, name in names.items():
            run(*command, "--target", target, "--tag", name, str(ROOT))
    return names


def image_name(registry: str, target: str, tag: str) -> str:
    """Return an image's name, as the chart puts it together."""
    return f"{registry}/airflow-edge/{target}:{tag}".removeprefix("/")


def size(name: str) -> str:
    """Return an image's size, not compressed, as people read it."""
    if builder() == "docker":
        return f"{int(run('docker', 'image', 'inspect', '--format', '{{.Size}}', name)) / 1e6:.0f} MB"
    found: str = json.loads(run("buildah", "images", "--json", name))[0]["size"]
    return found


def _command(program: str) -> list[str]:
    index = os.environ.get("PIP_INDEX_URL", "")
    arguments = ["--build-arg", f"PIP_INDEX_URL={index}"]
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


def main() -> int:
    """Build all images, and say how large they are."""
    parser = argparse.ArgumentParser(prog="make images", description=main.__doc__)
    parser.add_argument("--registry", default="", help="prefix of the images' names, e.g. registry.example.com/team")
    parser.add_argument("--tag", default="dev", help="tag of the images (default: dev)")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"some of {', '.join(TARGETS)}")
    asked = parser.parse_args()
    try:
        for name in build(asked.registry, asked.tag, asked.targets).values():
            print(f"{size(name):>8}  {name}")  # noqa: T201
    except NoClusterError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
