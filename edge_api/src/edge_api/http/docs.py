"""Documentation of an API for a browser: Swagger UI, served from here, under a strict Content-Security-Policy.

People enter a credential into this page, so it loads nothing from elsewhere and can connect to nothing but its own
server, whatever its script may try.
"""

import html
from functools import cache
from importlib import resources
from typing import Final

from fastapi import APIRouter, Response

PATH: Final = "/docs"

_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
_START: Final = "start.js"

_SCRIPT: Final = """\
SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});
"""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="docs"><noscript>This page needs JavaScript. The description itself is <a href="openapi.json">openapi.json</a>.
</noscript></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def open_paths(base_path: str) -> frozenset[str]:
    """Return the paths of the page and its parts, which need no credential; calls from it do."""
    page = f"{base_path}{PATH}"
    return frozenset({page, *(f"{page}/{name}" for name in (*_ASSETS, _START))})


def docs_router(title: str) -> APIRouter:
    """Return the routes of the page; the description of the API is `openapi.json` beside it."""
    router = APIRouter(include_in_schema=False)
    page = _PAGE.format(title=html.escape(title))

    async def show() -> Response:
        return Response(page, media_type="text/html", headers=HEADERS)

    async def start() -> Response:
        return Response(_SCRIPT, media_type="text/javascript", headers=HEADERS)

    router.get(PATH)(show)
    router.get(f"{PATH}/{_START}")(start)
    for name, media_type in _ASSETS.items():
        _add_asset(router, name, media_type)
    return router


def _add_asset(router: APIRouter, name: str, media_type: str) -> None:
    async def asset() -> Response:
        return Response(_content(name), media_type=media_type, headers=HEADERS)

    router.get(f"{PATH}/{name}")(asset)


@cache
def _content(name: str) -> bytes:
    return (resources.files("fastapi_swagger.resources") / name).read_bytes()
