"""A stand-in for a node's kubelet that runs a real agent process for each pod and reports its status.

The controller manager creates the pods. The node binds them, starts each agent with the environment and volumes of its
pod, restarts agents that exit, and stops them with SIGTERM, grace period and SIGKILL. Tasks are shell commands.
"""

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edge_testing.kubernetes.api import Api, Obj
from edge_testing.kubernetes.control_plane import ControlPlane
from edge_testing.workers.scripts import SHELL_AGENT

POLL_S = 0.15
RESTART_S = 1.0
NAME = "node-1"


@dataclass
class Container:
    """The process of one pod."""

    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    exited_at: float = 0.0
    stopping_at: float | None = None
    reported: Obj | None = None
    state_folder: Path | None = None
    log: Path | None = field(default=None)


class Node:
    """One node for the pods of one namespace; use it as a context manager."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path) -> None:
        self._api = Api(cluster)
        self._namespace = namespace
        self._folder = folder
        self._containers: dict[str, Container] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)
        self.schedules = True
        """If False, pods stay Pending."""
        self.lost = False
        """If True, the node has lost power: it reports and stops nothing."""
        self.environment: dict[str, str] = {}
        """Additional environment variables for agents."""
        self.failure: BaseException | None = None

    def __enter__(self) -> "Node":
        self._folder.mkdir(parents=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        for container in self._containers.values():
            self._kill(container)
        self._api.close()
        if self.failure is not None:
            raise AssertionError("the node failed") from self.failure

    def lose_power(self) -> None:
        """Kill all processes, and report nothing from now on."""
        self.lost = True
        for container in list(self._containers.values()):
            self._kill(container)

    def kill_container(self, pod: str) -> None:
        """Kill a pod's process like an OOM kill; the node restarts it."""
        self._kill(self._by_name(pod))

    def evict(self, pod: str) -> None:
        """Evict a pod, as a kubelet does that is short of memory."""
        found = self._api.call("GET", self._path(pod))
        assert found is not None
        container = self._containers[found["metadata"]["uid"]]
        container.stopping_at = time.monotonic()
        self._kill(container)
        status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
        self._report(found, container, status)

    def log(self, pod: str) -> str:
        """Return what a pod's agent logged."""
        log = self._by_name(pod).log
        return log.read_text() if log is not None and log.exists() else ""

    def _by_name(self, pod: str) -> Container:
        found = self._api.call("GET", self._path(pod))
        assert found is not None, f"there is no pod {pod}"
        return self._containers[found["metadata"]["uid"]]

    def _path(self, pod: str, subresource: str = "") -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods/{pod}{subresource}"

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            if self.lost:
                continue
            try:
                self._sync_all()
            except (OSError, http.client.HTTPException):
                # The apiserver is being restarted.
                continue
            except BaseException as error:
                self.failure = error
                raise

    def _sync_all(self) -> None:
        pods = self._api.call("GET", f"/api/v1/namespaces/{self._namespace}/pods") or {"items": []}
        for pod in pods["items"]:
            if self.lost:
                return
            self._sync(pod)
        existing = {pod["metadata"]["uid"] for pod in pods["items"]}
        for uid in self._containers.keys() - existing:
            # Deleted without grace.
            self._kill(self._containers.pop(uid))

    def _sync(self, pod: Obj) -> None:
        meta = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            if self.schedules and not meta.get("deletionTimestamp"):
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}}
                target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
                self._api.call("POST", self._path(meta["name"], "/binding"), binding | {"target": target})
            return
        container = self._containers.setdefault(meta["uid"], Container())
        if meta.get("deletionTimestamp"):
            self._terminate(pod, container)
        elif pod["status"].get("phase") != "Failed":
            self._keep_running(pod, container)

    def _keep_running(self, pod: Obj, container: Container) -> None:
        if container.process is not None and container.process.poll() is not None:
            container.process = None
            container.exited_at = time.monotonic()
        if container.process is None:
            if container.starts and time.monotonic() < container.exited_at + RESTART_S:
                waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
                self._report(pod, container, self._status(pod, container, {"waiting": waiting}, ready=False))
                return
            self._start(pod, container)
        running = {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._report(pod, container, self._status(pod, container, {"running": running}, ready=True))

    def _status(self, pod: Obj, container: Container, state: Obj, *, ready: bool) -> Obj:
        spec = pod["spec"]["containers"][0]
        reported = {"name": spec["name"], "image": spec["image"], "imageID": "", "ready": ready, "state": state}
        conditions = [
            {"type": kind, "status": "True" if ready or kind == "PodScheduled" else "False"}
            for kind in ("Initialized", "PodScheduled", "ContainersReady", "Ready")
        ]
        restarts = {"restartCount": max(container.starts - 1, 0)}
        return {"phase": "Running", "conditions": conditions, "containerStatuses": [reported | restarts]}

    def _report(self, pod: Obj, container: Container, status: Obj) -> None:
        known = json.loads(json.dumps(status).replace('"startedAt"', '"_"'))
        for item in known.get("containerStatuses", []):
            item["state"] = sorted(item["state"])
        if container.reported == known:
            return
        container.reported = known
        patch = {"status": status}
        self._api.call("PATCH", self._path(pod["metadata"]["name"], "/status"), patch, "application/merge-patch+json")

    def _start(self, pod: Obj, container: Container) -> None:
        spec = pod["spec"]["containers"][0]
        folders = self._volumes(pod)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_")}
        for variable in spec.get("env", []):
            environment[variable["name"]] = _on_this_machine(variable.get("value", ""), folders)
        environment |= self.environment
        assert spec["command"] == ["edge-worker", "run"]
        container.log = self._folder / f"{pod['metadata']['name']}.log"
        container.starts += 1
        with container.log.open("ab") as log:
            container.process = subprocess.Popen(
                [sys.executable, str(SHELL_AGENT), "run"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _volumes(self, pod: Obj) -> dict[str, Path]:
        meta = pod["metadata"]
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        folders = {}
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "persistentVolumeClaim" in volume:
                folder = self._folder / "claims" / volume["persistentVolumeClaim"]["claimName"]
            else:
                folder = self._folder / "pods" / meta["uid"] / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            if "secret" in volume:
                self._write_secret(volume["secret"], folder)
            folders[mount["mountPath"]] = folder
        return folders

    def _write_secret(self, volume: Obj, folder: Path) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{volume['secretName']}"
        secret = self._api.call("GET", path)
        assert secret is not None or volume.get("optional"), f"the pod needs Secret {volume['secretName']}"
        data = (secret or {}).get("data") or {}
        for item in volume["items"]:
            if item["key"] in data:
                (folder / item["path"]).write_bytes(base64.b64decode(data[item["key"]]))

    def _terminate(self, pod: Obj, container: Container) -> None:
        process = container.process
        if process is not None and process.poll() is None:
            if container.stopping_at is None:
                container.stopping_at = time.monotonic()
                process.send_signal(signal.SIGTERM)
                return
            if time.monotonic() < container.stopping_at + pod["metadata"]["deletionGracePeriodSeconds"]:
                return
            self._kill(container)
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        options["preconditions"] = {"uid": pod["metadata"]["uid"]}
        self._api.call("DELETE", self._path(pod["metadata"]["name"]), options)
        self._containers.pop(pod["metadata"]["uid"], None)

    def _kill(self, container: Container) -> None:
        process = container.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)


def _on_this_machine(value: str, folders: dict[str, Path]) -> str:
    """Map a path inside a container to this machine; return other values unchanged."""
    for mount, folder in folders.items():
        if value == mount or value.startswith(f"{mount}/"):
            return str(folder) + value[len(mount) :]
    return value
