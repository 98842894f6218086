"""Stops PostgreSQL when the platform dies: its server leaves the process tree, where the kernel's signal does not come.

`python -m edge_demo.guard PIDFILE` waits for SIGTERM, which is what it gets when its parent dies, then asks the server
whose process id is in the first line of the file to end.
"""

import os
import signal
import sys
from pathlib import Path


def main(pid_file: Path) -> None:
    """Wait for SIGTERM, then send the server its signal for a fast shutdown."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    if pid_file.exists():
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
