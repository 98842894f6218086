"""A complete platform on one machine: embedded PostgreSQL, a real Airflow, the edge API and workers.

`make demo` shows it, and the tests and the benchmark run on the same parts.
"""
