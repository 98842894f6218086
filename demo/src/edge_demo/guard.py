"""Stops PostgreSQL when the platform is killed: the server daemonizes, so the kernel's parent-death signal misses it.

`python -m edge_demo.guard PIDFILE` waits for SIGTERM, which it gets when its parent dies, then shuts down the server
whose process id is in the first line of the file.
"""

import os
import signal
import sys
from pathlib import Path


def main(pid_file: Path) -> None:
    """Wait for SIGTERM, then send the server SIGINT, which is a fast shutdown."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    if pid_file.exists():
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
