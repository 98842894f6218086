"""The edge worker: a small agent that pulls jobs over outbound HTTPS, and a warm runner that forks a process per task.

The agent never imports Airflow; only `edge_worker.runner`, which runs as a process of its own, does.
"""

from importlib.metadata import version

__version__ = version("airflow-edge-worker")
