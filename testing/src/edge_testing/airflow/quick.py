"""Settings by which Airflow notices within seconds what takes it minutes by default."""

QUICK_ADOPTION = {
    # A scheduler takes over after a crash within seconds instead of minutes.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
}
