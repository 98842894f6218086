"""The base image: the official Python image, or Debian's Python from debootstrap if no registry can be reached."""

import shutil
import subprocess
from pathlib import Path

from edge_images.cache import filling, locked
from edge_images.commands import UnavailableError, run

OFFICIAL = "python:3.11-slim-bookworm"
STAND_IN = "localhost/airflow-edge-base:bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
"""Left out, as in Debian's official slim images."""
CACHES = ("var/cache/apt", "var/lib/apt/lists", "var/log")


def base_image() -> str:
    """Return the name of the base image for buildah, and build it first if necessary.

    Raises:
        UnavailableError: neither a registry nor debootstrap is available.

    """
    if _succeeds("buildah", "pull", "--quiet", OFFICIAL):
        return OFFICIAL
    with locked("base-bookworm") as entry:
        if not (entry / "rootfs.tar").is_file():
            _bootstrap(entry)
        if not _succeeds("buildah", "inspect", "--type", "image", STAND_IN):
            _import(entry / "rootfs.tar")
    return STAND_IN


def _bootstrap(entry: Path) -> None:
    if not shutil.which("debootstrap"):
        raise UnavailableError(f"no registry with {OFFICIAL} can be reached: install debootstrap to make a base image")
    print(f"no registry with {OFFICIAL}: making a base image with debootstrap, once")
    with filling(entry) as fresh:
        root = fresh / "rootfs"
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root), *_mirror())
        for folder in (*UNUSED, *CACHES):
            shutil.rmtree(root / folder, ignore_errors=True)
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "var/log").mkdir()
        run("tar", "-C", str(root), "-cf", str(fresh / "rootfs.tar"), ".")
        shutil.rmtree(root)


def _mirror() -> list[str]:
    """Return the mirror that this machine's apt uses, if it is for the same release."""
    what = ["Created-By: Packages", "Codename: bookworm"]
    found = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *what).split()
    return found[:1]


def _import(rootfs: Path) -> None:
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, str(rootfs), "/")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    run("buildah", "config", "--env", path, container)
    run("buildah", "commit", "--quiet", "--rm", container, STAND_IN)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0
