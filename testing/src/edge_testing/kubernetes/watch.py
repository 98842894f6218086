"""Follows all objects of a kind: a list, then a watch, and both again when the apiserver ends the watch.

`kubectl get --watch` is not enough: after a restart it does not report objects that were deleted in between.
"""

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Self

from edge_testing.kubernetes.api import Obj

RESTART_S = 0.5


class Watch:
    """Calls `changed` with all objects of a kind, at the start and after each change. A context manager."""

    def __init__(self, kubectl: list[str], path: str, changed: Callable[[list[Obj]], None]) -> None:
        self._get = [*kubectl, "get", "--raw"]
        self._path = path
        self._changed = changed
        self._objects: dict[str, Obj] = {}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name=f"watch {path}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The lock makes sure that no other process is started after this one is killed.
        with self._lock:
            self._closed.set()
            if self._process is not None:
                self._process.kill()
        self._thread.join(timeout=30)

    def _keep_up(self) -> None:
        while not self._closed.is_set():
            version = self._list()
            if version is not None:
                self._follow(version)
            self._closed.wait(RESTART_S)

    def _list(self) -> str | None:
        """Pass on the list, and return the resource version at which a watch continues."""
        command = [*self._get, self._path, "--request-timeout=30s"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return None
        listed = json.loads(done.stdout)
        self._objects = {found["metadata"]["uid"]: found for found in listed["items"]}
        self._changed(list(self._objects.values()))
        version: str = listed["metadata"]["resourceVersion"]
        return version

    def _follow(self, version: str) -> None:
        command = [*self._get, f"{self._path}?watch=true&resourceVersion={version}"]
        with self._lock:
            if self._closed.is_set():
                return
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with self._process as process:
            for line in process.stdout or []:
                event = json.loads(line)
                # For example, the resource version is too old: start with a new list.
                if event["type"] == "ERROR":
                    process.kill()
                    return
                self._apply(event["type"], event["object"])

    def _apply(self, kind: str, found: Obj) -> None:
        if kind == "DELETED":
            self._objects.pop(found["metadata"]["uid"], None)
        else:
            self._objects[found["metadata"]["uid"]] = found
        self._changed(list(self._objects.values()))
