"""The embedded PostgreSQL of tests, demo and benchmark."""

from pathlib import Path

import psutil

from edge_demo.postgres import EmbeddedPostgres


def test_a_restarted_server_is_stopped_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with EmbeddedPostgres(folder) as postgres:
        postgres.restart()
        server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    server.wait(timeout=10)
