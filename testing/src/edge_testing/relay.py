"""A TCP relay that can stop forwarding: the network is gone, and all connections stay open."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path
from typing import Self

LOCALHOST = "127.0.0.1"


class Relay:
    """Relays a port of this machine to another port, or to a Unix socket; use it as a context manager."""

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._listener = socket.create_server((LOCALHOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_forwarding()
        for connection in (self._listener, *self._peers):
            connection.close()

    def stop_forwarding(self) -> None:
        """Forward nothing from now on and close nothing, as a firewall that drops all packets."""
        self._end.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._end.is_set():
                for key, _ in selector.select(timeout=0.1):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                        self._forward(selector, key.fileobj)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        try:
            far = self._connect()
        except OSError:
            near.close()
            return
        self._peers |= {near: far, far: near}
        selector.register(near, selectors.EVENT_READ)
        selector.register(far, selectors.EVENT_READ)

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection((LOCALHOST, self._target))
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(self._target))
        except OSError:
            far.close()
            raise
        return far

    def _forward(self, selector: selectors.BaseSelector, source: socket.socket) -> None:
        peer = self._peers[source]
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            if data:
                peer.sendall(data)
                return
        for connection in (source, peer):
            del self._peers[connection]
            selector.unregister(connection)
            connection.close()
