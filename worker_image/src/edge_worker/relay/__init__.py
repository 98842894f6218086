"""Calls of tasks to Airflow's Execution API, sent over the worker's own way to the edge API (ADR 0038)."""
