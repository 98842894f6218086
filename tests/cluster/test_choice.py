"""Errors on machines that can't create a cluster or an image."""

from pathlib import Path

import pytest

from edge_images.build import builder, image_name
from edge_images.commands import UnavailableError
from edge_testing.cluster.choice import open_cluster
from edge_testing.programs.packages import install_container_packages, install_node_packages


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CLUSTER": "minikube"}, "CLUSTER=minikube is not known: use node, kind, kubeconfig"),
        ({"CLUSTER": "kind"}, "CLUSTER=kind needs docker on PATH"),
        ({"CLUSTER": "kubeconfig", "KUBECONFIG": "/some/file"}, "needs IMAGE_REGISTRY, IMAGE_TAG, IMAGE_OTHER_TAG;"),
    ],
)
def test_a_cluster_that_can_not_be_had(
    variables: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnavailableError, match=said), open_cluster():
        pass


def test_a_node_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match="run as root, or use CLUSTER=kind or CLUSTER=kubeconfig"):
        install_node_packages()


def test_a_node_without_apt_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="install buildah conntrack containerd"):
        install_node_packages()


def test_containers_need_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match="start Docker, or run as root"):
        install_container_packages()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UnavailableError, match=r"install buildah .*podman"):
        install_container_packages()


def test_images_need_a_program_that_builds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="start Docker or install buildah"):
        builder()


def test_names_of_images_are_those_of_the_chart() -> None:
    assert (
        image_name("registry.example.com/team", "worker", "1.0") == "registry.example.com/team/airflow-edge/worker:1.0"
    )
    assert image_name("", "worker", "1.0") == "airflow-edge/worker:1.0"
