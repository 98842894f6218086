"""`edge-worker` with a clock of its own, which its runners and tasks do not share.

libfaketime is loaded through LD_PRELOAD and follows a file; without the variable, child processes have the machine's
clock. Airflow plans a retry from the time that the task's process reports, so a task with a wrong clock could wait for
days.
"""

import os
import sys

from edge_worker.cli import main

if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    sys.exit(main())
