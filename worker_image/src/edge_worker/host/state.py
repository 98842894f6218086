"""The worker's state folder: its paths, and the locks that keep one worker to one folder."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge_worker.errors import StateFolderError
from edge_worker.host.files import OWN

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_TASKS_WAIT_S = 30.0
"""Seconds to wait for tasks of a former agent: they end with it, but the kernel may need a moment."""


@dataclass(frozen=True)
class StateFolder:
    """Paths inside one worker's state folder."""

    root: Path

    @property
    def credential(self) -> Path:
        """The credential of the worker."""
        return self.root / "credential.json"

    @property
    def learned(self) -> Path:
        """Modules that tasks were seen to import."""
        return self.root / "learned-modules.json"

    @property
    def leases(self) -> Path:
        """The spool: one folder per lease."""
        return self.root / "leases"

    @property
    def maintenance(self) -> Path:
        """A maintenance request from this host that the edge API has not confirmed."""
        return self.root / "maintenance.json"

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            StateFolderError: it cannot be created or written.

        """
        try:
            self.leases.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise state_folder_error(self.root, error) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise StateFolderError(f"state folder {self.root} is not writable; change its owner or set --state-dir")


class StateLocks:
    """Both locks of a state folder, held while the agent lives.

    `agent.lock` is the agent's alone. `tasks.lock` is inherited by the runner and its task processes, so that an agent
    that starts after a crash knows when its predecessor's last task has ended.
    """

    def __init__(self, agent: "FileLock", tasks: "FileLock") -> None:
        self._agent = agent
        self.tasks = tasks

    @classmethod
    def acquire(cls, state: StateFolder) -> Self:
        """Take both locks, waiting for tasks of an agent that died.

        Raises:
            StateFolderError: another agent uses the folder, or tasks of a former agent do not end.

        """
        agent = FileLock(state.root / "agent.lock")
        if not agent.try_acquire():
            agent.close()
            raise StateFolderError(
                f"another edge worker runs on state folder {state.root}; stop it or choose another --state-dir"
            )
        tasks = FileLock(state.root / "tasks.lock")
        deadline = time.monotonic() + _TASKS_WAIT_S
        while not tasks.try_acquire():
            if time.monotonic() >= deadline:
                tasks.close()
                agent.close()
                raise StateFolderError(
                    f"task processes of a former edge worker still run on {state.root} after {_TASKS_WAIT_S:.0f} s; "
                    "end them, then start again"
                )
            # flock has no timeout of its own; this runs before the event loop starts.
            time.sleep(0.05)
        return cls(agent, tasks)

    def close(self) -> None:
        """Close this process's descriptors; `tasks.lock` stays locked while a task process has it open."""
        self.tasks.close()
        self._agent.close()


class FileLock:
    """An exclusive lock on an open file, released when the last process closes its descriptor."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OWN, 0o600)
        except OSError as error:
            raise state_folder_error(path.parent, error) from error

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            if sys.platform == "win32":
                # Windows locks ranges: the first byte stands for the file.
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def fileno(self) -> int:
        """Return the descriptor; a process that inherits it keeps the lock."""
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def state_folder_error(folder: Path, error: OSError) -> StateFolderError:
    """Return the error of a state folder that the system does not let be used."""
    return StateFolderError(
        f"state folder {folder} cannot be used ({error.strerror}); set --state-dir to a writable one"
    )
