"""What Airflow loads of Airflow Edge: the executor, the DB manager and the reader of task logs."""
