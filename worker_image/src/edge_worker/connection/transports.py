"""What every transport does, and how it fails."""

from typing import Protocol


class TransportError(Exception):
    """The connection is not there (any more); trying again later may help."""


class UpgradeRefusedError(TransportError):
    """Something between here and the edge API does not let a WebSocket through."""


class UnauthorisedError(TransportError):
    """The edge API itself says that the credential is not good."""


class Transport(Protocol):
    """A connection to the edge API. Frames are the JSON texts of `edge_protocol.frames`."""

    name: str
    sends_are_confirmed: bool
    """Whether `send` returns only when the edge API has the frames."""

    async def send(self, texts: list[str]) -> None:
        """Send frames in order.

        Raises:
            TransportError: the connection is gone; what was sent last may or may not have arrived.

        """

    async def receive(self) -> list[str]:
        """Wait for frames.

        Raises:
            TransportError: the connection is gone.

        """

    async def close(self) -> None:
        """End the connection; never raises for a connection that is gone already."""
