"""The edge API's database role, which may use the schema `edge` only, as in an installation."""

from sqlalchemy.engine import make_url


def as_api_role(url: str) -> str:
    """Return the URL of a database (created from the tests' template) for the edge API's role."""
    return make_url(url).set(username="edge_api", password="edge-api").render_as_string(hide_password=False)
