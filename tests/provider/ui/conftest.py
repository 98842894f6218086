"""What tests of the fleet page's backend share: Airflow's tables, an edge API, and an api-server in this process."""

from collections.abc import Iterator

import airflow.settings
import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.team import Team
from sqlalchemy import create_engine

from edge_testing.database.db import Db
from edge_testing.edge_api.process import ApiProcess
from edge_testing.ui.api_server import TEAMS, ApiServer, add_worker, api_server, settings


@pytest.fixture(scope="module")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Airflow's own tables, with a DAG of each team and one of none."""
    file = tmp_path_factory.mktemp("airflow") / "airflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{file}")
        patch.setattr(airflow.settings, "SQL_ALCHEMY_CONN", f"sqlite:///{file}")
        patch.setattr(airflow.settings, "SQL_ALCHEMY_CONN_ASYNC", f"sqlite+aiosqlite:///{file}")
        airflow.settings.dispose_orm()
        airflow.settings.configure_orm()
        engine = create_engine(f"sqlite:///{file}")
        import_all_models()
        Base.metadata.create_all(engine)
        with airflow.settings.Session() as session:
            for team in TEAMS:
                bundle = DagBundleModel(name=team)
                bundle.teams = [Team(name=team)]
                session.add(bundle)
                session.flush()
                session.add(DagModel(dag_id=f"dag-{team}", bundle_name=team))
            session.add(DagBundleModel(name="common"))
            session.flush()
            session.add(DagModel(dag_id="dag", bundle_name="common"))
            session.commit()
        engine.dispose()
        yield
        airflow.settings.dispose_orm()


@pytest.fixture(scope="module")
def db(module_database: str) -> Iterator[Db]:
    with Db(module_database) as opened:
        yield opened


@pytest.fixture(scope="module")
def edge_api(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with ApiProcess(module_database, tmp_path_factory.mktemp("edge-api") / "log") as started:
        yield started


@pytest.fixture(scope="module")
def server(airflow_database: None, edge_api: ApiProcess, db: Db) -> Iterator[ApiServer]:
    """An api-server without teams."""
    with api_server(settings(edge_api.url, db)) as started:
        yield started


@pytest.fixture
def worker(db: Db) -> str:
    """A worker of no team that just connected; of a name that no other test uses."""
    return add_worker(db)
