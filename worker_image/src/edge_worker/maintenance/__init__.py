"""Maintenance, health and drain: when the worker takes no jobs, and how it stops."""
