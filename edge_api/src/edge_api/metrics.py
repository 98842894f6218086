"""Metrics for Prometheus. Labels are bounded: never a worker, task or DAG."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_LATENCY_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_STATEMENT_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.dispatch_latency = Histogram(
            "airflow_edge_dispatch_latency_seconds",
            "From queued to accepted by a worker.",
            registry=self.registry,
            buckets=_LATENCY_BUCKETS,
        )
        self.statement_seconds = Histogram(
            "airflow_edge_database_seconds",
            "Time of database statements, including the wait for a connection.",
            ["statement"],
            registry=self.registry,
            buckets=_STATEMENT_BUCKETS,
        )
        self.http_seconds = Histogram(
            "airflow_edge_http_seconds",
            "Time of HTTP calls, without long polls.",
            ["path", "status"],
            registry=self.registry,
            buckets=_STATEMENT_BUCKETS,
        )
        self.database_failures = self._counter("database_failures", "Times that the database did not answer.")
        self.jobs_dispatched = self._counter("jobs_dispatched", "Jobs given to workers.")
        self.jobs_finished = self._counter("jobs_finished", "Jobs by outcome.", "outcome")
        self.lease_rescues = self._counter("lease_rescues", "Jobs put back because no worker accepted them in time.")
        self.fenced = self._counter("fenced", "Frames that named a stale lease.", "frame")
        self.log_bytes = self._counter("log_bytes", "Bytes of task logs stored.")
        self.log_bytes_discarded = self._counter(
            "log_bytes_discarded", "Bytes of task logs that are not stored, because their log exceeds its limit."
        )
        self.logs_truncated = self._counter("logs_truncated", "Task logs that have exceeded their limit.")
        self.deferred_logs = self._counter(
            "deferred_logs", "Pieces of task logs that were put off because too many bytes were held."
        )
        self.workers_lost = self._counter("workers_lost", "Workers declared unknown because of their silence.")
        self.refused_frames = self._counter("refused_frames", "Frames that could not be read.")
        self.failed_authentications = self._counter("failed_authentications", "Calls refused for their credential.")
        self.passes = self._counter("housekeeping_passes", "Passes of housekeeping duties.", "duty")
        self.sessions = self._gauge("sessions", "Workers connected to this process.", "transport")
        self.held_bytes = self._gauge("held_bytes", "Bytes held for workers; EDGE_API_HELD_BYTES_MAX is the bound.")
        self.queue_depth = self._gauge("queue_depth", "Jobs queued.", "queue")
        self.queue_oldest = self._gauge("queue_oldest_seconds", "Time that the oldest queued job has waited.", "queue")
        self.workers = self._gauge("workers", "Workers of the whole fleet by state.", "state")
        self.jobs_out_of_contact = self._gauge(
            "jobs_out_of_contact", "Running jobs that are kept for workers out of contact."
        )
        self.slots = self._gauge("slots", "Slots of the workers that serve a queue.", "queue", "use")
        self.log_storage = self._gauge(
            "log_storage_bytes", "Disk space of task logs in the database, looked up every few minutes."
        )
        self.database_up = self._gauge("database_up", "1 if the last look at the database succeeded.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"airflow_edge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"airflow_edge_{name}", text, labels, registry=self.registry)
