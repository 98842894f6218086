"""Installs the Debian packages that a one-node cluster, image builds and containers need."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edge_images.cache import locked
from edge_images.commands import UnavailableError, docker_answers, run

CONTAINER_PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "runc": "runc",
    "socat": "socat",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Package that provides each program."""

NODE_PACKAGES = {
    **CONTAINER_PACKAGES,
    "conntrack": "conntrack",
    "containerd": "containerd",
    "dnsmasq": "dnsmasq-base",
    "gcc": "gcc libc6-dev",
    "ip": "iproute2",
}
_CHROMIUMS = ("chromium", "chromium-headless-shell", "google-chrome")
PODMAN_PACKAGES = {**CONTAINER_PACKAGES, "podman": "podman"}


def install_node_packages() -> None:
    """Install the missing packages for a one-node cluster.

    Raises:
        UnavailableError: this machine can't do that; the message says what to install.

    """
    if os.geteuid() != 0:
        raise UnavailableError("a one-node cluster needs root: run as root, or use CLUSTER=kind or CLUSTER=kubeconfig")
    _install(NODE_PACKAGES)


def install_container_packages() -> None:
    """Install the missing packages for building and running images: those for Podman, unless Docker is available.

    Raises:
        UnavailableError: this machine can't do that; the message says what to install.

    """
    if docker_answers():
        if not shutil.which("socat"):
            raise UnavailableError("no socat here: put it on PATH")
    elif os.geteuid() == 0:
        _install(PODMAN_PACKAGES)
    else:
        raise UnavailableError("no engine to run containers: start Docker, or run as root")


def install_podman_packages() -> None:
    """Install the missing packages for containers that run systemd.

    Raises:
        UnavailableError: this machine can't do that; the message says what to install.

    """
    if os.geteuid() != 0:
        raise UnavailableError("a host with systemd in a container needs root and Podman: run as root")
    _install(PODMAN_PACKAGES)


def find_chromium() -> Path:
    """Return a Chromium: `EDGE_CHROMIUM`, one on PATH, or Debian's.

    Raises:
        UnavailableError: there is none; the message says what to install.

    """
    named = os.environ.get("EDGE_CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise UnavailableError(f"EDGE_CHROMIUM={named} is not a file")
        return Path(named)
    if not any(shutil.which(program) for program in _CHROMIUMS):
        if os.geteuid() != 0:
            raise UnavailableError("no Chromium here: put chromium on PATH, or set EDGE_CHROMIUM to its path")
        _install({_CHROMIUMS[0]: "chromium fonts-dejavu-core"})
    return next(Path(found) for program in _CHROMIUMS if (found := shutil.which(program)))


def _install(packages: Mapping[str, str]) -> None:
    # Tests run in parallel, and only one process can use the package manager.
    with locked("apt"):
        missing = sorted(
            {name for program, names in packages.items() if not shutil.which(program) for name in names.split()}
        )
        if not missing:
            return
        if not shutil.which("apt-get"):
            raise UnavailableError(f"install {' '.join(missing)} (names of Debian's packages)")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
