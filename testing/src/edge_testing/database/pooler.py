"""PgBouncer before the embedded PostgreSQL."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from sqlalchemy.engine import make_url

from edge_demo.environment import LOCALHOST, free_port
from edge_demo.processes import ManagedProcess, wait_until
from edge_testing.programs.pgbouncer import find_pgbouncer

PoolMode = Literal["session", "transaction", "statement"]


@contextmanager
def pooler(database: str, mode: PoolMode, **settings: str | int) -> Iterator[str]:
    """Run PgBouncer before the server of a database, and yield the database's URL through it."""
    found = find_pgbouncer()
    url = make_url(database)
    port = free_port()
    sockets = Path(str(url.query["host"]))
    # PgBouncer refuses to run as root; only the server's user reaches its socket then.
    user = sockets.owner() if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lines = {
            "listen_addr": LOCALHOST,
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / "users",
            "pool_mode": mode,
            **settings,
        }
        config = folder / "pgbouncer.ini"
        target = f"* = host={sockets}"
        (folder / "users").write_text(f'"{url.username}" ""\n"edge_api" ""\n')
        config.write_text("\n".join(["[databases]", target, "[pgbouncer]", *(f"{k} = {v}" for k, v in lines.items())]))
        command = [str(found.program), *(("-u", user) if user else ()), str(config)]
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, found.libraries))}
        process = ManagedProcess("pgbouncer", command, environment, folder / "log", folder)
        process.start()
        try:
            wait_until(lambda: _listens(port), "PgBouncer listens", 20, [process])
            yield url.set(host=LOCALHOST, port=port, query={}).render_as_string(hide_password=False)
        finally:
            process.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOCALHOST, port), timeout=1).close()
    except OSError:
        return False
    return True
