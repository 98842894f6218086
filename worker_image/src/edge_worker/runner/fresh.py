"""The runner without fork: the same loop, but each task gets an interpreter of its own. Started by the agent only.

    python -m edge_worker.runner.fresh --control-fd N --lock-fd N

For systems without a safe fork, and for tasks that fail in a warm process. It does not import Airflow itself.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from edge_worker.runner.loop import RunnerLoop, connect


def main() -> int:
    """Serve one agent; return the exit code of the process."""
    channel, lock_fd = connect()
    if channel.receive_one() is None:
        return 0

    def spawn(message: dict[str, Any], _close_in_child: Callable[[], None]) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_worker.runner.single"],
            stdin=subprocess.PIPE,
            pass_fds=(lock_fd,),
            start_new_session=True,
        )
        if process.stdin is not None:
            with process.stdin as pipe:
                pipe.write(json.dumps(message | {"lock_fd": lock_fd}).encode())
        # The loop waits for all children itself; Popen must not.
        process.returncode = 0
        return process.pid

    channel.send(event="ready", skipped={}, modules=len(sys.modules), resident_bytes=None)
    RunnerLoop(channel, spawn).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
