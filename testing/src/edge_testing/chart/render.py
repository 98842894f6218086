"""Renders the chart with helm, and finds objects in the result."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from edge_testing.kubernetes.api import Obj
from edge_testing.programs.binaries import find_helm
from edge_testing.repository import CHART

VALUES = {
    "platform": None,
    "existing": CHART / "examples" / "existing-airflow.yaml",
    "remote": CHART / "examples" / "remote.yaml",
    "everything": Path(__file__).with_name("values") / "everything.yaml",
}
"""Values file of each installation mode; None means the default values."""

OLD, CURRENT = "1.20.2", "1.37.0"
NAMESPACE = "air"
MONITORING = "monitoring.coreos.com/v1"
POD_KINDS = ("Deployment", "StatefulSet", "Job")


def helm(*arguments: str, program: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm to its end, by default the newest version."""
    command = [str(program or find_helm()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@dataclass(frozen=True)
class Rendered:
    """The objects that one `helm template` rendered."""

    objects: list[Obj] = field(repr=False)

    def kind(self, kind: str) -> dict[str, Obj]:
        """Return all objects of a kind, by name."""
        return {obj["metadata"]["name"]: obj for obj in self.objects if obj["kind"] == kind}

    def one(self, kind: str, name: str) -> Obj:
        """Return one object."""
        return self.kind(kind)[name]

    def ids(self) -> set[str]:
        """Return `KIND/NAME` of all objects."""
        return {f"{obj['kind']}/{obj['metadata']['name']}" for obj in self.objects}

    def pods(self) -> Iterator[tuple[str, Obj]]:
        """Yield the spec of each pod with the name of its controller."""
        for obj in self.objects:
            if obj["kind"] in POD_KINDS:
                yield f"{obj['kind']}/{obj['metadata']['name']}", obj["spec"]["template"]["spec"]
            elif obj["kind"] == "Pod":
                yield f"Pod/{obj['metadata']['name']}", obj["spec"]

    def migration(self) -> Obj:
        """Return the Job that prepares the database."""
        (job,) = (job for name, job in self.kind("Job").items() if "-migrate-" in name)
        return job


@lru_cache(maxsize=64)
def render(mode: str = "platform", *more: str, version: str = CURRENT, program: Path | None = None) -> Rendered:
    """Render the chart with the values of a mode; `more` are arguments for helm."""
    done = try_render(mode, *more, version=version, program=program)
    assert done.returncode == 0, done.stderr
    return Rendered([obj for obj in yaml.safe_load_all(done.stdout) if obj])


def try_render(
    mode: str = "platform", *more: str, version: str = CURRENT, program: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` as an upgrade, which has all hooks."""
    file = VALUES[mode]
    values = ["-f", str(file)] if file else []
    arguments = ("template", "edge", str(CHART), "-n", NAMESPACE, "--is-upgrade", "--kube-version", version)
    return helm(*arguments, *values, *more, program=program)


def env(container: Obj) -> dict[str, Any]:
    """Return a container's variables: a value, or (Secret, key)."""
    found: dict[str, Any] = {}
    for variable in container.get("env") or []:
        reference = variable.get("valueFrom", {}).get("secretKeyRef", {})
        found[variable["name"]] = variable.get("value") or (reference.get("name"), reference.get("key"))
    return found


def containers(pod: Obj) -> list[Obj]:
    """Return all containers of a pod, init containers included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def image(pod: Obj) -> str:
    """Return the image of the main container."""
    found: str = pod["containers"][0]["image"]
    return found
