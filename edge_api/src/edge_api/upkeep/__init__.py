"""Duties that keep this replica and the platform in step with the database, and what probes and Prometheus see."""
