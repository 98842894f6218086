"""The service that edge workers call: sessions, dispatch, logs and identity.

Layers: `routes` speak HTTP and WebSocket, `services` decide and keep time, `edge_store` holds the SQL. Nothing here
imports Airflow.
"""

from importlib.metadata import version

__version__ = version("airflow-edge-api")
