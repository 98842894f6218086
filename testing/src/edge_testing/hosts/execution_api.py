"""A stand-in for Airflow's Execution API, enough for tasks without Variables, Connections or XComs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

NOW = "2026-01-01T00:00:00Z"
DAG_RUN: dict[str, Any] = {
    "dag_id": "d",
    "run_id": "r",
    "logical_date": NOW,
    "data_interval_start": NOW,
    "data_interval_end": NOW,
    "run_after": NOW,
    "start_date": NOW,
    "end_date": None,
    "run_type": "manual",
    "state": "running",
    "consumed_asset_events": [],
    "partition_key": None,
}
CONTEXT = {"dag_run": DAG_RUN, "max_tries": 0}


class ExecutionApi:
    """A context manager; it listens on loopback."""

    def __init__(self) -> None:
        self.states: list[str] = []
        """The states that tasks ended in."""
        self.xcoms: list[bytes] = []
        """What tasks returned, as JSON."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="execution API")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        states, xcoms = self.states, self.xcoms

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/run"):
                    self._answer(200, json.dumps(CONTEXT).encode())
                    return
                if self.path.endswith("/state"):
                    states.append(body["state"])
                self._answer(204)

            def do_POST(self) -> None:
                xcoms.append(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(201, b'{"message": "stored"}')

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(204)

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler
