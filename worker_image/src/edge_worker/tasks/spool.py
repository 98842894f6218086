"""The spool: one folder per lease, which holds what must outlive the agent until the edge API has it.

leases/<lease id>/
  job.json       what the lease is; never the workload, which holds the task's token
  logs/<path>    the task's log, written by Airflow's supervisor
  log.json       how far that log was delivered, once disk space was given back
  outcome.json   how the task ended, written durably by the process that supervised it
  modules-*.json what the task's processes had to import
"""

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from uuid import UUID

from edge_worker.host.atomic import read_json, write_json
from edge_worker.logs.cursor import Hole, LogCursor

log = logging.getLogger(__name__)

Result = Literal["succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task's process ended."""

    outcome: Result
    exit_code: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What is kept of a job."""

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

    def log_file(self, log_path: str | None) -> Path | None:
        """Return the task's log file; None for a job without one, or one that points out of the folder."""
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
        """Return the job, or None where the file is missing or foreign."""
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

    def write_outcome(self, outcome: Outcome) -> None:
        """Note durably how the task ended."""
        write_json(self.root / "outcome.json", asdict(outcome), durable=True)

    def read_outcome(self) -> Outcome | None:
        """Return how the task ended, or None while nothing says so."""
        content = read_json(self.root / "outcome.json")
        if not isinstance(content, dict) or content.get("outcome") not in ("succeeded", "failed"):
            return None
        return Outcome(content["outcome"], content.get("exit_code"), content.get("error"))

    def write_modules(self, process: str, modules: list[str]) -> None:
        """Note modules that one of the task's processes imported."""
        write_json(self.root / f"modules-{process}.json", modules)

    def read_modules(self) -> set[str]:
        """Return all noted modules."""
        names: set[str] = set()
        for path in self.root.glob("modules-*.json"):
            content = read_json(path)
            if isinstance(content, list):
                names.update(name for name in content if isinstance(name, str))
        return names

    def write_progress(self, cursor: LogCursor) -> None:
        """Note what must not be read again; called before disk space is given back."""
        hole = [cursor.hole.start, cursor.hole.end] if cursor.hole else None
        write_json(self.root / "log.json", {"acked": cursor.acked, "freed": cursor.freed, "hole": hole})

    def read_cursor(self) -> LogCursor:
        """Return where the log's delivery stood."""
        content: Any = read_json(self.root / "log.json")
        try:
            hole = content["hole"]
            return LogCursor(
                acked=int(content["acked"]),
                freed=int(content["freed"]),
                hole=Hole(int(hole[0]), int(hole[1])) if hole else None,
            )
        except (TypeError, KeyError, IndexError, ValueError, OverflowError):
            return LogCursor()

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

    def recover(self) -> list[tuple[JobInfo, LeaseFolder]]:
        """Return what a former agent left behind, oldest first; folders without a job are deleted.

        One that the system does not let be read is left alone: a worker that can't start for it would be worse.
        """
        found = []
        for path in sorted(self._root.iterdir(), key=lambda path: path.stat().st_mtime):
            folder = LeaseFolder(path)
            try:
                job = folder.read_job()
            except OSError as error:
                log.warning("%s cannot be read (%s) and is left alone; see to its owner and mode", path, error.strerror)
                continue
            if job is None or str(job.lease_id) != path.name:
                folder.remove()
            else:
                found.append((job, folder))
        return found
