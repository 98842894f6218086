"""The relay between two parts: it forwards, stops without closing, goes on, and cuts."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edge_testing.relay import LOCALHOST, Relay


@pytest.fixture
def ends() -> Iterator[tuple[Relay, socket.socket, socket.socket]]:
    """A relay with one connection through it: the client's end and the server's."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOCALHOST, 0)))
        relay = stack.enter_context(Relay(listener.getsockname()[1]))
        client = stack.enter_context(socket.create_connection((LOCALHOST, relay.port), timeout=10))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(10)
        yield relay, client, server


def test_what_was_sent_while_it_stopped_arrives_later(ends: tuple[Relay, socket.socket, socket.socket]) -> None:
    relay, client, server = ends
    client.sendall(b"one")
    assert server.recv(10) == b"one"
    relay.stop_forwarding()
    client.sendall(b"two")
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(10)
    server.settimeout(10)
    relay.resume_forwarding()
    assert server.recv(10) == b"two"


def test_a_cut_closes_both_ends(ends: tuple[Relay, socket.socket, socket.socket]) -> None:
    relay, client, server = ends
    client.sendall(b"one")
    assert server.recv(10) == b"one"
    relay.cut()
    assert client.recv(10) == server.recv(10) == b""


def test_a_cut_while_it_stopped(ends: tuple[Relay, socket.socket, socket.socket]) -> None:
    relay, client, server = ends
    client.sendall(b"one")
    assert server.recv(10) == b"one"
    relay.stop_forwarding()
    relay.stop_forwarding()
    relay.cut()
    assert client.recv(10) == server.recv(10) == b""
    relay.resume_forwarding()
    relay.resume_forwarding()
