"""The PostgreSQL schema `edge`: tables, migrations and every SQL statement.

A function for a statement returns an `edge_store.database.statement.Statement` or `Command`. Sync callers (the executor
inside Airflow's scheduler, commands) and async ones (the edge API) run the same objects, so no statement exists twice.
"""
