"""The edge API's database as a scheduler and a test see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Connection, Engine, Executable, Row, delete, text, update

from edge_store.database import engine
from edge_store.database.notify import Notification, notify
from edge_store.database.statement import Command, rows, run
from edge_store.jobs import scheduling
from edge_store.schema import tables
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

    def rows(self, statement: Executable | str) -> list[Row[Any]]:
        """Run a statement in a transaction of its own, and return its rows."""
        if isinstance(statement, str):
            statement = text(statement)
        with self._engine.begin() as connection:
            result = connection.execute(statement)
            return list(result.all()) if result.returns_rows else []

    def run(self, command: Command) -> None:
        """Run a command of the store in a transaction of its own."""
        with self._engine.begin() as connection:
            run(connection, command)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection

    def empty(self) -> None:
        """Delete the jobs, workers and credentials of earlier tests."""
        of_workers = (tables.worker, tables.worker_event, tables.worker_sample)
        for table in (tables.job, tables.lease, *of_workers, tables.credential):
            self.rows(delete(table))

    def enqueue(self, count: int = 1, **changes: Any) -> list[UUID]:
        """Queue jobs as the scheduler does; `changes` are fields of `NewJob`."""
        new = [new_job(**changes) for _ in range(count)]
        with self._engine.begin() as connection:
            for job in new:
                run(connection, scheduling.enqueue(job))
        return [job.id for job in new]

    def job(self, job_id: UUID) -> Row[Any]:
        """Return the row of a job."""
        return self.rows(text("SELECT * FROM edge.job WHERE id = :id").bindparams(id=job_id))[0]

    def state(self, job_id: UUID) -> str:
        """Return the state of a job."""
        return str(self.job(job_id).state)

    def revoke(self, job_id: UUID) -> None:
        """Revoke a job, as the executor does."""
        with self._engine.begin() as connection:
            rows(connection, scheduling.revoke(job_id))

    def set_desired(self, worker: str, **values: Any) -> None:
        """Change the desired state of a worker, as an administrator does."""
        change = update(tables.worker_desired).where(tables.worker_desired.c.worker_name == worker)
        with self._engine.begin() as connection:
            connection.execute(change.values(version=tables.worker_desired.c.version + 1, **values))
            run(connection, notify(Notification("desired", worker)))

    def worker(self, name: str) -> Row[Any]:
        """Return the row of a worker."""
        return self.rows(text("SELECT * FROM edge.worker WHERE name = :name").bindparams(name=name))[0]

    def log_of(self, lease: UUID) -> bytes:
        """Return the log of a lease as far as it has arrived."""
        statement = text("SELECT data FROM edge.log WHERE lease_id = :id ORDER BY start").bindparams(id=lease)
        return b"".join(row.data for row in self.rows(statement))
