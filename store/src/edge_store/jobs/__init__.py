"""Statements on jobs: enqueued by the scheduler, claimed, leased to a worker, logged, and shown to people."""
