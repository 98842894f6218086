"""OpenAPI descriptions: FastAPI does not know our authentication or the shape of our errors."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from edge_api.http.problems import MEDIA_TYPE
from edge_protocol.rest import Problem


def _described(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: _described("The request can't be read, or is incomplete."),
    401: _described("No credential, or an invalid one."),
    403: _described("The credential does not allow this."),
    404: _described("It does not exist."),
    405: _described("The path does not support this method."),
    408: _described("The body came too slowly."),
    409: _described("Its state does not allow this."),
    413: _described("The body is too large."),
    415: _described("The body is compressed."),
    422: _described("The request is wrong; the detail names the field."),
    429: _described("Too many calls from this address failed to authenticate."),
    503: _described("The database is away, or this replica stops."),
}
"""Any call may answer with these."""


def describe(app: FastAPI, base_path: str, security: dict[str, Any]) -> None:
    """Give an application an OpenAPI description with its base path, its security scheme, and problems as errors."""

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app, base_path, security)
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign]


def _description(app: FastAPI, base_path: str, security: dict[str, Any]) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": base_path}],
    )
    components = schema["components"]
    components["schemas"]["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"caller": security}
    schema["security"] = [{"caller": []}]
    return schema
