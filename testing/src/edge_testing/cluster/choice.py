"""The cluster that the suite runs on, by the variable CLUSTER: `node` (here, the default), `kind`, or `kubeconfig`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_images.build import TARGETS, build, image_name, size
from edge_images.commands import UnavailableError, run
from edge_testing.cluster.companions import build_nginx_image, build_postgres_image
from edge_testing.cluster.one_node import OneNodeCluster
from edge_testing.cluster.runtime import remove_folder
from edge_testing.programs.binaries import find_binaries, find_helm
from edge_testing.programs.packages import install_node_packages

REGISTRY = "localhost"
TAG = "e2e"
OTHER_TAG = "e2e-next"
COMPANIONS = ("postgres:16", "nginx:1")
"""Images of other projects, by the names that they have in every registry."""
KIND_CONFIG = Path(__file__).with_name("kind.yaml")
KIND_NAME = "airflow-edge-e2e"


@dataclass(frozen=True)
class Cluster:
    """Access to a cluster whose nodes have the images."""

    kubeconfig: Path
    kubectl: Path
    helm: Path
    registry: str
    tag: str
    other_tag: str
    """The same images under another tag, for upgrades."""
    image_sizes: dict[str, str]


@contextmanager
def open_cluster() -> Iterator[Cluster]:
    """Create the cluster, or connect to an existing one.

    Raises:
        UnavailableError: this machine can't do that; the message says what to install.

    """
    kinds: dict[str, Callable[[], Iterator[Cluster]]] = {"node": _node, "kind": _kind, "kubeconfig": _kubeconfig}
    choice = os.environ.get("CLUSTER", "node")
    if choice not in kinds:
        raise UnavailableError(f"CLUSTER={choice} is not known: use {', '.join(kinds)}")
    with contextmanager(kinds[choice])() as cluster:
        yield cluster


def prepare_cluster() -> None:
    """Build the images of the chosen cluster; a cluster then finds their layers.

    Raises:
        UnavailableError: this machine can't do that; the message says what to install.

    """
    choice = os.environ.get("CLUSTER", "node")
    if choice == "node":
        _node_images()
    elif choice == "kind":
        build(REGISTRY, TAG)


def _node_images() -> dict[str, str]:
    """Install the node's packages, build the images and those of companions, and return the former by target."""
    install_node_packages()
    images = build(REGISTRY, TAG)
    postgres, nginx = (f"{REGISTRY}/{name}" for name in COMPANIONS)
    build_postgres_image(postgres)
    build_nginx_image(nginx)
    return images


def _node() -> Iterator[Cluster]:
    images = _node_images()
    companions = [f"{REGISTRY}/{name}" for name in COMPANIONS]
    binaries = find_binaries(may_build=True)
    # The paths of sockets are limited in length, and the folder contains some.
    folder = Path(tempfile.mkdtemp(prefix="airflow-edge-node-", dir="/var/tmp"))
    try:
        with OneNodeCluster(folder, binaries) as node:
            for name in (*images.values(), *companions):
                node.containerd.import_image(name)
            for target, name in images.items():
                node.containerd.tag(name, image_name(REGISTRY, target, OTHER_TAG))
            sizes = {target: size(name) for target, name in images.items()}
            yield Cluster(node.kubeconfig, binaries.kubectl, find_helm(), REGISTRY, TAG, OTHER_TAG, sizes)
    finally:
        remove_folder(folder)


def _kind() -> Iterator[Cluster]:
    for program in ("docker", "kind", "kubectl"):
        if not shutil.which(program):
            raise UnavailableError(f"CLUSTER=kind needs {program} on PATH")
    images = build(REGISTRY, TAG)
    companions = [f"{REGISTRY}/{name}" for name in COMPANIONS]
    for name, here in zip(COMPANIONS, companions, strict=True):
        run("docker", "pull", "--quiet", name)
        run("docker", "tag", name, here)
    for target, name in images.items():
        run("docker", "tag", name, image_name(REGISTRY, target, OTHER_TAG))
    with tempfile.TemporaryDirectory(prefix="airflow-edge-kind-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        where = ("--name", KIND_NAME)
        run("kind", "create", "cluster", *where, "--config", str(KIND_CONFIG), "--kubeconfig", str(kubeconfig))
        try:
            others = [image_name(REGISTRY, target, OTHER_TAG) for target in TARGETS]
            run("kind", "load", "docker-image", *where, *images.values(), *others, *companions)
            sizes = {target: size(name) for target, name in images.items()}
            yield Cluster(kubeconfig, _program("kubectl"), find_helm(), REGISTRY, TAG, OTHER_TAG, sizes)
        finally:
            subprocess.run(["kind", "delete", "cluster", *where], capture_output=True, check=False)


def _kubeconfig() -> Iterator[Cluster]:
    names = ("KUBECONFIG", "IMAGE_REGISTRY", "IMAGE_TAG", "IMAGE_OTHER_TAG")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        others = " and ".join(COMPANIONS)
        raise UnavailableError(f"CLUSTER=kubeconfig needs {', '.join(missing)}; the registry has {others} too")
    kubeconfig, registry, tag, other = (os.environ[name] for name in names)
    yield Cluster(Path(kubeconfig), _program("kubectl"), find_helm(), registry, tag, other, {})


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"no {name} here: put it on PATH")
    return Path(found)
