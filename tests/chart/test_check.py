"""The check that `helm test` runs in the cluster."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edge_testing.chart.render import render

HEALTH = "/api/v2/monitor/health"


class Handler(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_pod_asks_all_parts_and_succeeds(server: ThreadingHTTPServer) -> None:
    Handler.body = b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": null}}'
    (container,) = render("platform").one("Pod", "edge-test")["spec"]["containers"]
    program, urls = container["args"][:3], container["args"][3:]
    assert program[:2] == ["python3", "-c"]
    assert [url.partition(":8")[0] for url in urls] == [
        "http://edge-edge-api",
        "http://edge-api-server",
        "http://edge-operator",
        "http://edge-edge-api.air.svc",
    ]
    here = f"http://127.0.0.1:{server.server_port}"
    asked = [here + "/" + url.split("/", 3)[3] for url in urls]
    assert here + HEALTH in asked
    done = subprocess.run([sys.executable, "-c", program[2], *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * len(urls)


def test_it_names_what_is_not_healthy(server: ThreadingHTTPServer) -> None:
    Handler.body = b'{"scheduler": {"status": "unhealthy"}, "metadatabase": {"status": "healthy"}}'
    (container,) = render("platform").one("Pod", "edge-test")["spec"]["containers"]
    # The default of a minute is for clusters.
    program = container["args"][2].replace("monotonic() + 60", "monotonic()")
    url = f"http://127.0.0.1:{server.server_port}{HEALTH}"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "scheduler is unhealthy" in done.stdout
    assert "metadatabase" not in done.stdout
