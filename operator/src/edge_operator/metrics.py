"""The operator's metrics for Prometheus. No label grows with the number of workers."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "airflow_edge_operator_reconcile_seconds", "Duration of one pass over one object", ["kind"]
)
RECONCILE_ERRORS = Counter(
    "airflow_edge_operator_reconcile_errors_total", "Passes that failed and are retried", ["kind", "error"]
)
QUEUE_LENGTH = Gauge("airflow_edge_operator_queue_length", "Objects that wait for a pass")
QUEUE_LAG_SECONDS = Histogram(
    "airflow_edge_operator_queue_lag_seconds",
    "Time from an event to the start of the pass over its object",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)
WORKERS = Gauge("airflow_edge_operator_workers", "EdgeWorkers by state", ["mode", "state"])
POOLS = Gauge("airflow_edge_operator_pools", "EdgeWorkerPools")
STATUS_WRITES = Counter("airflow_edge_operator_status_writes_total", "Status writes", ["kind"])
LEAKS = Counter("airflow_edge_operator_leaks_total", "Items that deletions could not clean up")
API_CONNECTED = Gauge("airflow_edge_operator_edge_api_connected", "1 while the change stream is up to date")
LEADING = Gauge("airflow_edge_operator_leading", "1 while this operator holds the lease")
