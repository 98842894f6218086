"""A program behind a gate reaches one port of this machine, and no other."""

import socket
import subprocess
import sys

from edge_testing.relay import LOCALHOST
from edge_testing.workers.one_way import Gate

CALL = """
import socket, sys
for port in sys.argv[1:]:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
            connection.sendall(b"hello")
            print("reached", connection.recv(10))
    except OSError as error:
        print(type(error).__name__)
"""


def test_one_port_is_reached() -> None:
    with socket.create_server((LOCALHOST, 0)) as listener, socket.create_server((LOCALHOST, 0)) as other:
        port = listener.getsockname()[1]
        with Gate(port) as gate:
            command = [*gate.prefix, sys.executable, "-c", CALL, str(port), str(other.getsockname()[1])]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
                listener.settimeout(30)
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(10) == b"hello"
                    connection.sendall(b"well")
                    out, _ = program.communicate(timeout=30)
    assert out == b"reached b'well'\nConnectionRefusedError\n"
