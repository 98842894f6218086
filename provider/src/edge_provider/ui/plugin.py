"""What Airflow loads from the entry point. Every Airflow process imports it, so it imports almost nothing.

The properties must not raise: the api-server would not start.
"""

import logging
from functools import cached_property
from typing import Any, Final

from airflow.sdk.plugins_manager import AirflowPlugin

from edge_provider.ui import STATIC

PREFIX: Final = "/edge_ui"
"""Where the api-server mounts the backend; `/edge_worker` is the edge API's."""

log = logging.getLogger(__name__)


class EdgePlugin(AirflowPlugin):  # type: ignore[misc]  # Airflow's types are skipped
    """Pages, and the application behind them."""

    name = "edge"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The backend; built only in api-servers, which are the only processes that ask for it."""
        from edge_provider.ui.app import make_app  # noqa: PLC0415 - see the module's docstring

        return [{"name": "Edge fleet", "url_prefix": PREFIX, "app": make_app(STATIC)}]

    @cached_property
    def react_apps(self) -> list[dict[str, Any]]:
        """The pages, all of one bundle. It registers each component under the name that is given here."""
        bundle = next(STATIC.glob("edge-*.js"), None)
        if bundle is None:
            log.warning("no fleet page in Airflow's UI: %s has no bundle, which make setup builds", STATIC)
            return []
        # Without a leading slash: relative to the UI's base path, whatever [api] base_url is.
        files = f"{PREFIX.removeprefix('/')}/static"
        common = {
            "bundle_url": f"{files}/{bundle.name}",
            "icon": f"{files}/edge.svg",
            "icon_dark_mode": f"{files}/edge-dark.svg",
        }
        return [
            {"name": "Edge fleet", "destination": "nav", "nav_top_level": True, "url_route": "edge", **common},
            {"name": "Edge task", "destination": "task_instance", "url_route": "edge-task", **common},
            {"name": "Edge summary", "destination": "dashboard", "url_route": "edge-summary", **common},
        ]
