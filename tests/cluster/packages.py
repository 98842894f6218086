"""Debian packages that a one-node cluster and image builds need, installed where that is possible."""

import os
import shutil

from tests.cluster.base_image import run
from tests.cluster.binaries import NoClusterError

PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "debootstrap": "debootstrap",
    "dnsmasq": "dnsmasq-base",
    "gcc": "gcc libc6-dev",
    "ip": "iproute2",
    "iptables": "iptables",
    "runc": "runc",
    "socat": "socat",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Package by the program that tells whether it is there."""


def install_node_packages() -> None:
    """Install what is missing.

    Raises:
        NoClusterError: this is not possible here; the message says what to install.

    """
    missing = sorted(
        {name for program, names in PACKAGES.items() if not shutil.which(program) for name in names.split()}
    )
    if os.geteuid() != 0:
        raise NoClusterError("a one-node cluster needs root: run as root, or use CLUSTER=kind or CLUSTER=kubeconfig")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise NoClusterError(f"install {' '.join(missing)} (names of Debian's packages)")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
