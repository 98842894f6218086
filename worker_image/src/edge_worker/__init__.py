"""The edge worker: a small agent that pulls jobs over outbound HTTPS, and a warm runner that forks a process per task.

The agent never imports Airflow; only `edge_worker.runner`, which runs as a process of its own, does.

    cli          the command `edge-worker`
    agent        assembles one worker and supervises its tasks
    presence     how the worker presents itself: hello, heartbeat, status
    maintenance  when the worker takes no jobs, and how it stops
    tasks        leases, their task processes, and how a task ended
    connection   the way to the edge API: transports, sessions, reconnects, credential
    logs         shipping task logs
    host         files, locks, signals, process trees, the local control socket
    runner       the processes that import Airflow and run tasks

Import rules between these folders are a contract in `pyproject.toml`: each may import only what stands below it here.
"""

from importlib.metadata import version

__version__ = version("airflow-edge-worker")
