"""The commands `airflow edge …`: on the worker of this host, and on the fleet through the admin API."""
