"""The service that edge workers call: sessions, dispatch, logs and identity.

A worker's frame comes in by a transport, goes to the file of its frame, and changes its session; the dispatcher gives
sessions jobs. `edge_store` has the SQL. Nothing here imports Airflow.
"""

from importlib.metadata import version

__version__ = version("airflow-edge-api")
