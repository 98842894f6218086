"""The database role under which tests run the edge API, as an installation does: it has the schema `edge` only."""

from sqlalchemy.engine import make_url


def as_api_role(url: str) -> str:
    """Return the URL of a database, made from the tests' template, for the edge API's role."""
    return make_url(url).set(username="edge_api", password="edge-api").render_as_string(hide_password=False)
