"""Statements on jobs: scheduling, claims, leases, logs, and views for people."""
