"""A metrics.k8s.io API that reports the CPU use in a ConfigMap for every pod. It runs in a pod, as a single file.

A test can set this value at once, unlike the load of a real pod.
"""

import json
import os
import ssl
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HERE = Path("/etc/metrics-api")
NAME = "metrics-api"
PORT = 8443
VERSION = "metrics.k8s.io/v1beta1"
ROOT = f"/apis/{VERSION}"


def ask_apiserver(path: str) -> Any:
    """Return the apiserver's answer to a GET."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    server = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    token = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
    with closing(HTTPSConnection(*server, context=context, timeout=20)) as connection:
        connection.request("GET", path, headers=token)
        return json.load(connection.getresponse())


def pods(namespace: str, query: str) -> dict[str, Any]:
    """Return a PodMetricsList; the query may have a selector."""
    cpu = ask_apiserver(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")["data"]["cpu"]
    found = ask_apiserver(f"/api/v1/namespaces/{namespace}/pods?{query}")["items"]
    return {
        "kind": "PodMetricsList",
        "apiVersion": VERSION,
        "metadata": {},
        "items": [usage(pod, cpu) for pod in found],
    }


def usage(pod: dict[str, Any], cpu: str) -> dict[str, Any]:
    """Return the PodMetrics of a pod."""
    containers = [
        {"name": container["name"], "usage": {"cpu": cpu, "memory": "64Mi"}} for container in pod["spec"]["containers"]
    ]
    meta = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": meta, "timestamp": now, "window": "1s", "containers": containers}


def kinds() -> dict[str, Any]:
    """Return the resource list for the apiserver's discovery."""
    # `list` works but is not announced: clients that list everything would otherwise call it in other namespaces.
    pod_metrics = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": [pod_metrics]}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the resource list, or with the metrics of a namespace's pods."""
        url = urlsplit(self.path)
        match url.path.removeprefix(ROOT).split("/"):
            case [""]:
                self._answer(200, kinds())
            case ["", "namespaces", namespace, "pods"]:
                self._answer(200, pods(namespace, url.query))
            case _:
                self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve() -> None:
    """Serve until the pod ends."""
    server = ThreadingHTTPServer(("", PORT), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "tls.crt", HERE / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
