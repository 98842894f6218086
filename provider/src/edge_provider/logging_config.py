"""Airflow's own logging settings plus the reader of edge logs, for `[logging] logging_config_class`.

Airflow 3.3 lets a provider claim a scheme of `[logging] remote_base_log_folder`, and this provider claims `edge`. But
Airflow's default logging settings refuse unknown schemes before they ask a provider. So this is a settings module with
a `REMOTE_TASK_LOG`; `[logging] remote_logging` stays off. The handler of task logs is ours, too: it spares api-servers
from reading a long log again at each poll.
"""

from copy import deepcopy

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

from edge_provider.log_reader import EdgeTaskLog

LOGGING_CONFIG = deepcopy(DEFAULT_LOGGING_CONFIG)
LOGGING_CONFIG["handlers"]["task"]["class"] = "edge_provider.log_handler.EdgeTaskHandler"
REMOTE_TASK_LOG = EdgeTaskLog()
