"""A TCP relay that can stop forwarding (the network is gone, and all connections stay open), delay, and cut."""

import contextlib
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Self

LOCALHOST = "127.0.0.1"
SEND_TIMEOUT_S = 5.0
"""A peer that takes nothing for this long is cut off, so that the relay's other connections go on."""


class Relay:
    """Relays a port of this machine to the first target that takes a connection: other ports, or Unix sockets.

    Use it as a context manager.
    """

    def __init__(self, *targets: int | Path, listener: socket.socket | None = None) -> None:
        """Set up; without a listener of the caller's, which is closed at the end, it takes a free port."""
        self._targets = targets
        self._listener = listener or socket.create_server((LOCALHOST, 0))
        self.port: int = self._listener.getsockname()[1] if self._listener.family == socket.AF_INET else 0
        self.delay_s = 0.0
        """Each piece of data takes this much longer."""
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        # Whoever has stopped the forwarding may cut connections meanwhile, or stop it once more.
        self._forwarding = threading.RLock()
        self._stops = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        while self._stops:
            self.resume_forwarding()
        self._thread.join(timeout=10)
        for connection in (self._listener, *self._peers):
            connection.close()
        self._selector.close()

    def stop_forwarding(self) -> None:
        """Forward nothing from now on and close nothing, as a firewall that drops all packets."""
        if not self._forwarding.acquire(timeout=2 * SEND_TIMEOUT_S):
            raise TimeoutError("the relay is stuck")
        self._stops += 1

    def resume_forwarding(self) -> None:
        """Forward again, also what was sent meanwhile."""
        self._stops -= 1
        self._forwarding.release()

    def cut(self) -> None:
        """Close all connections; new ones are accepted."""
        with self._forwarding:
            for connection in list(self._peers):
                self._close(connection)

    def _run(self) -> None:
        while not self._end.is_set():
            ready = self._selector.select(timeout=0.1)
            if not ready:
                continue
            with self._forwarding:
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = next(filter(None, map(_connected, self._targets)), None)
        if far is None:
            near.close()
            return
        for connection in (near, far):
            connection.settimeout(SEND_TIMEOUT_S)
        self._peers |= {near: far, far: near}
        self._selector.register(near, selectors.EVENT_READ)
        self._selector.register(far, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            if data:
                self._peers[source].sendall(data)
                return
        self._close(source)

    def _close(self, source: socket.socket) -> None:
        peer = self._peers.get(source)
        for connection in (source, peer):
            if connection is not None and self._peers.pop(connection, None) is not None:
                self._selector.unregister(connection)
                connection.close()


def _connected(target: int | Path) -> socket.socket | None:
    far = socket.socket(socket.AF_INET if isinstance(target, int) else socket.AF_UNIX)
    try:
        far.connect((LOCALHOST, target) if isinstance(target, int) else str(target))
    except OSError:
        far.close()
        return None
    return far
