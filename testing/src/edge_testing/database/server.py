"""A migrated database for an edge API that has its own role, as in an installation: it may use schema `edge` only."""

from sqlalchemy.engine import make_url

from edge_demo.postgres import EmbeddedPostgres
from edge_store.database import engine
from edge_store.schema import migrate
from edge_store.schema.roles import grant_role


def create_migrated(server: EmbeddedPostgres, name: str) -> str:
    """Create a database with the schema `edge` and the edge API's role, and return its URL as the owner."""
    url = server.create_database(name)
    created = engine.make_engine(url)
    with created.begin() as connection:
        migrate.upgrade(connection)
        grant_role(connection, as_api_role(url))
    created.dispose()
    return url


def as_api_role(url: str) -> str:
    """Return the URL of a migrated database for the edge API's role."""
    return make_url(url).set(username="edge_api", password="edge-api").render_as_string(hide_password=False)
