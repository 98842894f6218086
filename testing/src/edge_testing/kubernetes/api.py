"""Calls to the apiserver without the cost of kubectl."""

import http.client
import json
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from edge_testing.kubernetes.control_plane import ControlPlane

Obj = dict[str, Any]


class Api:
    """Calls the apiserver with one kept-alive connection per thread."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster
        self._token = cluster.admin_token
        self._tls = ssl.create_default_context(cafile=str(cluster.folder / "ca.crt"))
        self._local = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def call(self, method: str, path: str, body: Obj | None = None, content: str = "application/json") -> Obj | None:
        """Return the answer, or None if the object does not exist."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content}
        data = json.dumps(body).encode() if body is not None else None
        try:
            status, text = self._request(method, path, data, headers)
        except (OSError, http.client.HTTPException):
            # The apiserver was restarted since the last call.
            status, text = self._request(method, path, data, headers)
        if status in (404, 409):
            return None
        assert status < 300, f"{method} {path}: {text.decode()[:300]}"
        found: Obj = json.loads(text)
        return found

    def _request(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            address = urlsplit(self._cluster.url)
            connection = http.client.HTTPSConnection(address.netloc, timeout=10, context=self._tls)
            self._opened.append(connection)
        # Kept only once the answer is read: after a failed call the connection can't be used again.
        self._local.connection = None
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        self._local.connection = connection
        return answer.status, text

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()
