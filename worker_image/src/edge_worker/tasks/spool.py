"""The spool: one folder per lease, with everything that must survive the agent until the edge API has it.

leases/<lease id>/
  job.json       the lease's job, without the workload, which holds the task's token
  logs/<path>    the task's log, written by Airflow's supervisor
  log.json       how far that log is delivered, once disk space was freed (`edge_worker.logs.cursor`)
  outcome.json   how the task ended, written durably by its supervisor process (`edge_worker.tasks.outcome`)
  modules-*.json the modules that the task's processes had to import
"""

import logging
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from uuid import UUID, uuid4

from edge_worker.host.files import read_json, write_json

log = logging.getLogger(__name__)

_ROOM_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class JobInfo:
    """The part of a job that is kept."""

    lease_id: UUID
    job_id: UUID
    kind: Literal["task", "callback"]
    slots: int
    log_path: str | None


@dataclass(frozen=True)
class LeaseFolder:
    """The files of one lease."""

    root: Path

    @property
    def logs(self) -> Path:
        """Airflow's log folder for this task."""
        return self.root / "logs"

    @property
    def log_progress(self) -> Path:
        """The file that says how far the log is delivered."""
        return self.root / "log.json"

    def log_file(self, log_path: str | None) -> Path | None:
        """Return the task's log file; None for a job without a log, or if the path leads out of the folder."""
        if log_path is None:
            return None
        relative = PurePosixPath(log_path)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            return None
        return self.logs / relative

    def create(self, job: JobInfo) -> None:
        """Create the folder for a task that is about to start."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self.root / "job.json", {**asdict(job), "lease_id": str(job.lease_id), "job_id": str(job.job_id)})

    def read_job(self) -> JobInfo | None:
        """Return the job, or None where the file is missing or damaged."""
        content = read_json(self.root / "job.json")
        try:
            return JobInfo(
                lease_id=UUID(content["lease_id"]),
                job_id=UUID(content["job_id"]),
                kind=content["kind"],
                slots=int(content["slots"]),
                log_path=content["log_path"],
            )
        except (TypeError, KeyError, ValueError):
            return None

    def write_modules(self, process: str, modules: list[str]) -> None:
        """Write the modules that one of the task's processes imported."""
        write_json(self.root / f"modules-{process}.json", modules)

    def read_modules(self) -> set[str]:
        """Return the modules that all of the task's processes imported, as far as they can be read."""
        names: set[str] = set()
        with suppress(OSError):
            for path in self.root.glob("modules-*.json"):
                content = read_json(path)
                if isinstance(content, list):
                    names.update(name for name in content if isinstance(name, str))
        return names

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


class Spool:
    """All lease folders of a worker."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, lease_id: UUID) -> LeaseFolder:
        """Return the folder of a lease, which need not exist."""
        return LeaseFolder(self._root / str(lease_id))

    def check_writable(self) -> None:
        """Check that the folder of another lease can be created and written.

        Raises:
            OSError: it cannot.

        """
        folder = self.folder(uuid4())
        try:
            folder.logs.mkdir(parents=True)
            write_json(folder.root / "outcome.json", "x" * _ROOM_BYTES, durable=True)
        finally:
            folder.remove()

    def recover(self) -> list[tuple[JobInfo, LeaseFolder]]:
        """Return the leases that a former agent left behind, oldest first; folders without a job are deleted.

        A folder that cannot be read is left alone, since it must not keep the worker from starting.
        """
        found = []
        for path in sorted(self._root.iterdir(), key=lambda path: path.stat().st_mtime):
            folder = LeaseFolder(path)
            try:
                job = folder.read_job()
            except OSError as error:
                log.warning("%s cannot be read (%s) and is left alone; check its owner and mode", path, error.strerror)
                continue
            if job is None or str(job.lease_id) != path.name:
                folder.remove()
            else:
                found.append((job, folder))
        return found
