"""The runner: processes that import Airflow's Task SDK and run tasks. The agent starts them and never imports them."""
