"""Calls of tasks to Airflow's Execution API, forwarded so that a site needs one address only (ADR 0038)."""
