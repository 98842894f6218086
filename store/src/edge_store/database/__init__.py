"""Connections to PostgreSQL, hints over LISTEN/NOTIFY, and advisory locks."""
