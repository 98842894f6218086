"""Duties that keep the platform healthy, and what probes and Prometheus see."""
