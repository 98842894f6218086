"""Runs of DAGs on the platform of `edge_demo`, and calls to an Airflow that restarts."""
