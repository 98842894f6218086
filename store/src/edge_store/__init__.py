"""The PostgreSQL schema `edge`: tables, migrations and every SQL statement, one module per noun.

A statement function returns a SQLAlchemy executable; whether a caller runs it on a sync session (the executor inside
Airflow's scheduler) or on an async connection (the edge API) is the caller's business, so nothing exists twice.
"""
