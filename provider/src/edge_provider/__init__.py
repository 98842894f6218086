"""The part of Airflow Edge that Airflow loads: executor, DB manager, log reader, and the commands `airflow edge`."""
