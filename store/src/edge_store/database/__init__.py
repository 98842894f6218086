"""Connections to PostgreSQL, typed statements, hints over LISTEN/NOTIFY, and advisory locks."""
