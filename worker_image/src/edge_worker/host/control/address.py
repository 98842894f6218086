"""Address of the local socket: a Unix socket in the state folder, or a loopback port with a secret in a file.

The port is for hosts without Unix sockets, and for state folders that cannot hold one: their path is too long for the
system, or their file system does not support sockets.
"""

import json
import os
import secrets
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_worker.host.files import read_json, write_json

_PATH_MAX = 100
"""Bytes; Linux allows 107, macOS 103."""


@dataclass(frozen=True)
class ControlFiles:
    """The files in the state folder by which commands find the agent."""

    root: Path

    @property
    def unix(self) -> Path:
        """The Unix socket."""
        return self.root / "control.sock"

    @property
    def port(self) -> Path:
        """Port and secret, where there is no Unix socket."""
        return self.root / "control.json"

    def remove(self) -> None:
        """Delete both; the caller holds the lock of the state folder."""
        self.unix.unlink(missing_ok=True)
        self.port.unlink(missing_ok=True)

    def listen(self) -> tuple[socket.socket, str | None]:
        """Return a bound socket, and the secret that each request must carry (None: the file mode is enough).

        Raises:
            OSError: neither kind of socket can be made.

        """
        self.remove()
        if sys.platform != "win32" and len(os.fsencode(self.unix)) <= _PATH_MAX:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._bind_unix(made)
            except OSError:
                made.close()
            else:
                return made, None
        return self._listen_on_port()

    def _bind_unix(self, made: socket.socket) -> None:
        # The socket must have its mode from the first moment. Changing the umask for that moment is no alternative: a
        # process started just then would keep it, and could not open its own folders.
        with tempfile.TemporaryDirectory(prefix=".", dir=self.root) as private:
            path = Path(private) / "s"
            made.bind(str(path))
            path.chmod(0o600)
            path.rename(self.unix)

    def _listen_on_port(self) -> tuple[socket.socket, str]:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.bind(("127.0.0.1", 0))
            token = secrets.token_urlsafe(32)
            write_json(self.port, {"port": made.getsockname()[1], "token": token})
        except OSError:
            made.close()
            raise
        return made, token

    def connect(self, timeout_s: float) -> tuple[socket.socket, str | None]:
        """Return a connection to the agent, and the secret to send.

        Raises:
            OSError: nobody listens, or this user may not connect.

        """
        content = self._read_port()
        if content is not None:
            port, token = content
            return socket.create_connection(("127.0.0.1", port), timeout_s), token
        return self._connect_unix(timeout_s), None

    def _connect_unix(self, timeout_s: float) -> socket.socket:
        if sys.platform == "win32":
            raise FileNotFoundError(self.port)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(timeout_s)
        try:
            made.connect(str(self.unix))
        except OSError:
            made.close()
            raise
        return made

    def _read_port(self) -> tuple[int, str] | None:
        content = read_json(self.port)
        try:
            return int(content["port"]), str(content["token"])
        except (TypeError, KeyError, ValueError, json.JSONDecodeError):
            if sys.platform == "win32" or len(os.fsencode(self.unix)) > _PATH_MAX:
                raise FileNotFoundError(self.port) from None
            return None
