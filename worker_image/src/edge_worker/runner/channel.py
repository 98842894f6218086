"""The line to the agent: JSON objects, one a line, over a socket pair. Workloads pass here, never in argv."""

import json
import socket
from typing import Any


class Channel:
    """The runner's end."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.set_inheritable(False)
        self._buffer = bytearray()

    def send(self, **message: Any) -> None:
        """Send a message; an agent that is gone is noticed when reading."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> list[dict[str, Any]] | None:
        """Read what is there, waiting for at least some bytes; None when the agent is gone."""
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return None
        if not piece:
            return None
        self._buffer += piece
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        return [json.loads(line) for line in lines]

    def receive_one(self) -> dict[str, Any] | None:
        """Wait for the first message."""
        while (messages := self.receive()) is not None:
            if messages:
                return messages[0]
        return None

    def close(self) -> None:
        """Close this process's end."""
        self.socket.close()
