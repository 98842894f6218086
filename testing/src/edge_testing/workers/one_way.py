"""`python -m edge_testing.workers.one_way PORT SOCKET PROGRAM…`: run a program that can reach one TCP port only.

The program has a network namespace of its own, in which only loopback exists. There, PORT leads to a Unix socket, which
the file system shares with the test; the test lets it lead to the same port of this machine (`Gate`).
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from edge_testing.relay import LOCALHOST, Relay
from edge_worker.host.processes import die_with_parent

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


class Gate:
    """Lets a Unix socket lead to a port of this machine while it is open; `prefix` is the start of a command line."""

    def __init__(self, port: int) -> None:
        self._folder = Path(mkdtemp(prefix="airflow-edge-gate-"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._folder / "gate"))
        listener.listen()
        self._relay = Relay(port, listener=listener)
        self.prefix = (sys.executable, "-m", __name__, str(port), str(self._folder / "gate"))
        """The command that runs a program behind this gate."""

    def __enter__(self) -> Self:
        self._relay.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.__exit__()
        shutil.rmtree(self._folder)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Break all connections, and let nothing through while the block runs: new ones hang."""
        self._relay.stop_forwarding()
        try:
            self._relay.cut()
            yield
        finally:
            self._relay.resume_forwarding()


def enter_namespace() -> None:
    """Move this process into a network namespace of its own, with loopback up.

    Raises:
        OSError: this system does not allow it.

    """
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main() -> None:
    """Enter the namespace, leave a relay behind as a child, and become the program."""
    port, path, *command = sys.argv[1:]
    enter_namespace()
    listener = socket.create_server((LOCALHOST, int(port)))
    parent = os.getpid()
    if os.fork() == 0:
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with Relay(Path(path), listener=listener):
            signal.pause()
    listener.close()
    os.execvp(command[0], command)  # noqa: S606 - the arguments are the test's own


if __name__ == "__main__":
    main()
