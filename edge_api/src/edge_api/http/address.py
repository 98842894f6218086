"""The address that a call comes from."""

from starlette.requests import HTTPConnection


def address_of(call: HTTPConnection) -> str:
    """Return the client's address, as the trusted proxies report it."""
    return call.client.host if call.client is not None else "unknown"
