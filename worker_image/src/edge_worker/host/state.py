"""The worker's state folder: where things are, its credential, and the locks that keep one worker to one folder."""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError

from edge_worker.errors import StateFolderError
from edge_worker.host.atomic import read_json, write_json
from edge_worker.host.files import OWN
from edge_worker.host.locks import try_lock


class StoredCredential(BaseModel):
    """What enrolment left behind; the file is readable by its owner only."""

    worker: str
    credential: str = Field(repr=False)
    credential_id: str
    expires_at: datetime
    api_url: str
    team: str | None = None
    queues: list[str] | None = None
    """Granted queues; None: any queue."""
    received_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it was issued to this worker: says, with its end, how long its life is."""


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

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            StateFolderError: it cannot be created or written.

        """
        try:
            self.leases.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _not_usable(self.root, error) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise StateFolderError(f"state folder {self.root} is not writable; change its owner or set --state-dir")

    def read_credential(self) -> StoredCredential | None:
        """Return the stored credential, or None before the worker has enrolled.

        Raises:
            StateFolderError: the file is there but cannot be used.

        """
        try:
            content = read_json(self.credential)
            if content is None and not self.credential.exists():
                return None
            return StoredCredential.model_validate(content)
        except (OSError, ValidationError) as error:
            # The validation error would show the credential: only the path is named.
            raise StateFolderError(
                f"{self.credential} cannot be read; delete it and run: edge-worker enroll"
            ) from error

    def write_credential(self, credential: StoredCredential) -> None:
        """Store the credential durably.

        Raises:
            StateFolderError: it cannot be written.

        """
        try:
            write_json(self.credential, credential.model_dump(mode="json"), durable=True)
        except OSError as error:
            raise _not_usable(self.root, error) from error


class FileLock:
    """An exclusive lock that ends with the last process holding its descriptor."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OWN, 0o600)
        except OSError as error:
            raise _not_usable(path.parent, error) from error

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        return try_lock(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor; a process that inherits it keeps the lock."""
        return self._descriptor

    def close(self) -> None:
        """Let go; the lock is free once no other process has the descriptor."""
        os.close(self._descriptor)


class StateLocks:
    """Both locks of a state folder, held while the agent lives.

    `agent.lock` is the agent's alone. `tasks.lock` is inherited by the runner and its task processes, so that an agent
    which starts after a crash knows when the last task of its predecessor is gone.
    """

    def __init__(self, agent: FileLock, tasks: FileLock) -> None:
        self._agent = agent
        self.tasks = tasks

    @classmethod
    def acquire(cls, state: StateFolder, *, wait_s: float = 30.0) -> Self:
        """Take both locks, waiting at most `wait_s` seconds for tasks of an agent that died.

        Raises:
            StateFolderError: another agent uses the folder, or tasks of a former one do not end.

        """
        agent = FileLock(state.root / "agent.lock")
        if not agent.try_acquire():
            agent.close()
            raise StateFolderError(
                f"another edge worker runs on state folder {state.root}; stop it or choose another --state-dir"
            )
        tasks = FileLock(state.root / "tasks.lock")
        deadline = time.monotonic() + wait_s
        while not tasks.try_acquire():
            if time.monotonic() >= deadline:
                tasks.close()
                agent.close()
                raise StateFolderError(
                    f"task processes of a former edge worker still run on {state.root} after {wait_s:.0f} s; "
                    "end them, then start again"
                )
            # flock has no timeout of its own; this runs before the event loop starts.
            time.sleep(0.05)
        return cls(agent, tasks)

    def close(self) -> None:
        """Release what this process holds."""
        self.tasks.close()
        self._agent.close()


def _not_usable(folder: Path, error: OSError) -> StateFolderError:
    return StateFolderError(
        f"state folder {folder} cannot be used ({error.strerror}); set --state-dir to a writable one"
    )
