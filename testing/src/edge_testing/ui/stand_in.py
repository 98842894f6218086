"""A server in the place of an edge API: of another version, or something else altogether."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edge_demo.environment import LOCALHOST


@contextmanager
def stand_in(status: int, kind: str, body: str, port: int = 0) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Answer every call alike; yields the URL, and paths for which a test gives another type and body."""
    others: dict[str, tuple[str, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = self.path.partition("?")[0]
            this_kind, this_body = others.get(path, (kind, body))
            content = this_body.encode()
            self.send_response(200 if path in others else status)
            self.send_header("Content-Type", this_kind)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOCALHOST, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOCALHOST}:{server.server_port}", others
        finally:
            server.shutdown()
            thread.join()
