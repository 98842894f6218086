"""The OpenAPI documents of the admin API and the v1 API, and generated calls against a real process."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge_protocol.admin import CHANGES_PATH, OPENAPI_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.credentials import admin_credential
from edge_testing.edge_api.process import ApiProcess
from edge_testing.edge_api.v1 import SECRET, token

V1_OPENAPI_PATH = "/edge_worker/v1/openapi.json"
V1_PREFIX = "/edge_worker/v1/"
EXAMPLES = (8, pytest.param(100, marks=pytest.mark.slow))
"""Generated calls per operation: the smaller number is enough to find omissions."""


@pytest.fixture(params=EXAMPLES)
def bounded(request: pytest.FixtureRequest) -> settings:
    """How many calls are generated; without randomness, so that a failure comes again."""
    return few(request.param)


def few(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def described(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """A process of its own, since these calls remove and revoke whatever they can."""
    with ApiProcess(module_database, tmp_path_factory.mktemp("described") / "api.log", v1_jwt_secret=SECRET) as api:
        yield api


def operations(api: ApiProcess, path: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(api.url + path)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def cases(operation: Any) -> SearchStrategy[Any]:
    """Return calls as described, and calls that break the description where there is something to break."""
    good: SearchStrategy[Any] = operation.as_strategy()
    if not (operation.body or operation.path_parameters or operation.query):
        return good
    bad: SearchStrategy[Any] = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return good | bad


def check(case: Any, response: Any) -> None:
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        problem = response.json()
        assert problem["detail"].strip()
        assert problem["code"].strip()


def test_descriptions_are_openapi_3_1_with_examples(described: ApiProcess) -> None:
    for path in (OPENAPI_PATH, V1_OPENAPI_PATH):
        schema = requests.get(described.url + path, timeout=10).json()
        assert schema["openapi"].startswith("3.1")
        for name, methods in schema["paths"].items():
            for method, operation in methods.items():
                assert operation.get("description") or operation.get("summary"), (name, method)
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                model = schema["components"]["schemas"].get(body.get("$ref", "").rsplit("/", 1)[-1])
                if path == OPENAPI_PATH and model is not None:
                    assert model.get("examples"), f"{method} {name} has no example"


def test_admin_calls_with_a_credential(described: ApiProcess, bounded: settings) -> None:
    with Db(described.database) as db:
        headers = {"Authorization": f"Bearer {admin_credential(db)}"}
        seen: set[int] = set()
        for operation in operations(described, OPENAPI_PATH):
            if operation.full_path == CHANGES_PATH:
                continue  # a stream has no end; the next test reads its beginning

            @bounded
            @given(case=cases(operation))
            def call(case: Any) -> None:
                # A call may revoke the very credential that it is made with.
                db.rows("UPDATE edge.credential SET revoked_at = NULL WHERE role = 'admin'")
                response = case.call(headers=headers)
                check(case, response)
                seen.add(response.status_code)

            call()
        assert {200, 201, 404, 422} <= seen


def test_change_stream_from_wherever_it_is_asked_for(described: ApiProcess, bounded: settings) -> None:
    [stream] = [each for each in operations(described, OPENAPI_PATH) if each.full_path == CHANGES_PATH]
    seen: set[int] = set()
    with Db(described.database) as db:
        headers = {"Authorization": f"Bearer {admin_credential(db)}"}

        @bounded
        @given(case=stream.as_strategy() | stream.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def follow(case: Any) -> None:
            call = case.as_transport_kwargs(base_url=case.operation.base_url, headers=headers)
            with requests.request(**call, stream=True, timeout=10) as response:
                seen.add(response.status_code)
                if response.status_code != 200:
                    check(case, schemathesis.Response.from_requests(response, verify=False))
                    return
                assert response.headers["content-type"].startswith("text/event-stream")
                assert next(response.iter_lines()) in (b"event: reset", b"event: ready")

        follow()
    assert 200 in seen


def test_admin_calls_without_a_credential(described: ApiProcess) -> None:
    for operation in operations(described, OPENAPI_PATH):

        @few(3)
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            response = case.call(headers={"Authorization": "Bearer rubbish"})
            check(case, response)
            assert response.status_code in (401, 429)

        call()


def test_v1_calls_with_a_token(described: ApiProcess, bounded: settings) -> None:
    seen: set[int] = set()
    for operation in operations(described, V1_OPENAPI_PATH):

        @bounded
        @given(case=cases(operation))
        def call(case: Any) -> None:
            url = requests.Request("GET", case.operation.base_url + case.formatted_path).prepare().url or ""
            method = unquote(urlsplit(url).path).removeprefix(V1_PREFIX)
            response = case.call(headers={"Authorization": token(method)})
            check(case, response)
            seen.add(response.status_code)

        call()
    assert {200, 404, 422} <= seen


def test_v1_calls_without_a_token(described: ApiProcess) -> None:
    reached: set[str] = set()
    every = list(operations(described, V1_OPENAPI_PATH))
    for operation in every:

        @few(3)
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            response = case.call(headers={"Authorization": "rubbish"})
            check(case, response)
            # A parameter like `.` or `..` leads to another path.
            sent = unquote(urlsplit(response.request.url).path)
            if sent == V1_PREFIX.removesuffix("/") + unquote(case.formatted_path):
                reached.add(case.operation.path)
                open_to_all = case.operation.path == "/health"
                assert response.status_code in ((200,) if open_to_all else (403, 429)), sent

        call()
    assert reached == {operation.path for operation in every}
