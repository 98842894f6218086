"""containerd for a one-node cluster, with its own state folder and images from files."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from edge_images.commands import run

PAUSE_IMAGE = "localhost/pause:1"
PAUSE_SOURCE = """
#include <signal.h>
#include <unistd.h>
static void leave(int number) { (void)number; _exit(0); }
int main(void) { signal(SIGTERM, leave); signal(SIGINT, leave); for (;;) pause(); }
"""
START_TIMEOUT_S = 30.0

SETTINGS = """
version = 2
root = "{folder}/root"
state = "{folder}/run"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Many containers lack the right to lower the OOM score; without this no pod would start there.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""


class Containerd:
    """A context manager; at its end all its containers, mounts and processes are gone."""

    def __init__(self, folder: Path, cni_folder: Path) -> None:
        self._folder = folder
        self._cni_folder = cni_folder
        self.socket = folder / "containerd.sock"

    def __enter__(self) -> "Containerd":
        self._folder.mkdir(parents=True)
        settings = self._folder / "config.toml"
        settings.write_text(SETTINGS.format(folder=self._folder, cni=self._cni_folder, pause=PAUSE_IMAGE))
        with (self._folder / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(["containerd", "-c", str(settings)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(
                    f"containerd does not start:\n{(self._folder / 'containerd.log').read_text()[-2000:]}"
                )
            time.sleep(0.1)
        self._import_pause()
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._list("tasks"):
            self._try("tasks", "kill", "--signal", "SIGKILL", task)
        namespaces = set()
        for container in self._list("containers"):
            namespaces |= self._network_namespaces(container)
            self._try("tasks", "rm", "--force", container)
            self._try("containers", "rm", container)
        for name in namespaces:
            # This also deletes the pod's network link.
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        self._process.terminate()
        self._process.wait(timeout=30)

    def ctr(self, *arguments: str) -> str:
        """Run `ctr` in the namespace that the kubelet uses."""
        return run("ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments)

    def import_image(self, name: str) -> None:
        """Copy an image from buildah."""
        archive = self._folder / "image.tar"
        archive.unlink(missing_ok=True)
        run("buildah", "push", "--quiet", "--disable-compression", name, f"oci-archive:{archive}:{name}")
        self.ctr("images", "import", str(archive))
        archive.unlink()

    def tag(self, name: str, alias: str) -> None:
        """Give an image another name."""
        self.ctr("images", "tag", "--force", name, alias)

    def _import_pause(self) -> None:
        source, program = self._folder / "pause.c", self._folder / "pause"
        source.write_text(PAUSE_SOURCE)
        run("gcc", "-static", "-O2", "-o", str(program), str(source))
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "copy", "--quiet", container, str(program), "/pause")
        run("buildah", "config", "--entrypoint", '["/pause"]', container)
        run("buildah", "commit", "--quiet", "--rm", container, PAUSE_IMAGE)
        self.import_image(PAUSE_IMAGE)

    def _answers(self) -> bool:
        asked = subprocess.run(["ctr", "--address", str(self.socket), "version"], capture_output=True, check=False)
        return asked.returncode == 0

    def _list(self, what: str) -> list[str]:
        return self.ctr(what, "ls", "-q").split()

    def _network_namespaces(self, container: str) -> set[str]:
        found = json.loads(self.ctr("containers", "info", container))["Spec"]["linux"]["namespaces"]
        return {Path(one["path"]).name for one in found if one["type"] == "network" and one.get("path")}

    def _try(self, *arguments: str) -> None:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        subprocess.run(command, capture_output=True, timeout=60, check=False)


def remove_folder(folder: Path) -> None:
    """Unmount everything below a folder and remove it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if Path(mount).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
