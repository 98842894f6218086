"""Imports Airflow into the test process, with a home of its own and without its import warnings."""

import os
import tempfile
import warnings
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from edge_store.database import engine

_home = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "a secret of sixty-four characters, which is what Airflow asks for ...."
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_home.name}/unused.db"

with warnings.catch_warnings():
    # Airflow's imports use deprecated names of its dependencies; the project can't fix that.
    warnings.simplefilter("ignore")
    import airflow.executors.base_executor
    import airflow.settings
    import airflow.utils.db_manager
    import airflow.utils.log.file_task_handler
    import airflow.utils.session


@pytest.fixture
def db(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A migrated database, which `create_session(scoped=False)` uses."""
    made = engine.make_engine(database)
    monkeypatch.setattr(airflow.settings, "NonScopedSession", sessionmaker(made))
    yield made
    made.dispose()


@pytest.fixture
def session(db: Engine) -> Iterator[Session]:
    """A session like the scheduler's."""
    with Session(db) as made:
        yield made
