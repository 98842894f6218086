"""Airflow, imported into the test process: with a home of its own, and without its own import warnings."""

import os
import tempfile
import warnings

_home = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_home.name}/unused.db"

with warnings.catch_warnings():
    # Airflow's imports use deprecated names of its dependencies; that is not ours to mend.
    warnings.simplefilter("ignore")
    import airflow.executors.base_executor
    import airflow.utils.log.file_task_handler
    import airflow.utils.session  # noqa: F401
