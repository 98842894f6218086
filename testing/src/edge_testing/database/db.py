"""The edge API's database as a scheduler and a test see it."""

from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Engine, Row, text, update

from edge_store.database import engine
from edge_store.database.notify import Notification, notify
from edge_store.jobs import scheduling
from edge_store.schema.tables import worker_desired
from edge_testing.database.records import new_job


class Db:
    """The database as a scheduler and a test see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: Engine = engine.make_engine(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def rows(self, statement: Any) -> list[Row[Any]]:
        if isinstance(statement, str):
            statement = text(statement)
        with self._engine.begin() as connection:
            result = connection.execute(statement)
            return list(result.all()) if result.returns_rows else []

    def empty(self) -> None:
        """Delete what tests leave behind."""
        for table in ("job", "lease", "worker", "credential"):
            self.rows(f"DELETE FROM edge.{table}")

    def enqueue(self, count: int = 1, **changes: Any) -> list[UUID]:
        new = [new_job(**changes) for _ in range(count)]
        with self._engine.begin() as connection:
            for job in new:
                connection.execute(scheduling.enqueue(job))
        return [job.id for job in new]

    def job(self, job_id: UUID) -> Row[Any]:
        return self.rows(text("SELECT * FROM edge.job WHERE id = :id").bindparams(id=job_id))[0]

    def state(self, job_id: UUID) -> str:
        return str(self.job(job_id).state)

    def revoke(self, job_id: UUID) -> None:
        self.rows(scheduling.revoke(job_id))

    def wish(self, worker: str, **values: Any) -> None:
        """Change what is desired of a worker, as an administrator does."""
        change = update(worker_desired).where(worker_desired.c.worker_name == worker)
        with self._engine.begin() as connection:
            connection.execute(change.values(version=worker_desired.c.version + 1, **values))
            connection.execute(notify(Notification("desired", worker)))

    def worker(self, name: str) -> Row[Any]:
        return self.rows(text("SELECT * FROM edge.worker WHERE name = :name").bindparams(name=name))[0]

    def log_of(self, lease: UUID) -> bytes:
        statement = text("SELECT data FROM edge.log WHERE lease_id = :id ORDER BY start").bindparams(id=lease)
        return b"".join(row.data for row in self.rows(statement))
