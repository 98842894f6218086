"""Maintenance and the way to a stop: when this worker takes no more jobs, and how it ends."""
