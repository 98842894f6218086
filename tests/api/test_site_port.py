"""The site port, which sites reach: workers and scoped credentials get in, credentials for the whole fleet do not."""

from typing import Any

import aiohttp
import pytest

from edge_demo.environment import LOCALHOST, free_port
from edge_protocol.admin import ADMIN_PATH, OPENAPI_PATH
from edge_protocol.rest import ENROLL_PATH, INFO_PATH, ROTATE_PATH
from edge_testing.database.db import Db
from edge_testing.edge_api.admin import BOUNDS, MINE, admin_client
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.credentials import admin_credential, bearer, worker_credential
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import heartbeat, session
from edge_testing.waiting import until


@pytest.fixture
async def api(start_api: StartApi) -> ApiProcess:
    """An edge API with both ports."""
    return await start_api(site_port=free_port())


@pytest.fixture
def site(api: ApiProcess) -> str:
    """The URL that sites have."""
    return f"http://{LOCALHOST}:{api.env['EDGE_API_SITE_PORT']}"


async def call(method: str, url: str, credential: str | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
    headers = more.pop("headers", {}) | ({} if credential is None else bearer(credential))
    async with aiohttp.ClientSession() as http, http.request(method, url, headers=headers, **more) as answer:
        return answer.status, await answer.json(content_type=None) if answer.content_type != "text/plain" else {}


async def test_sites_manage_their_part_and_nobody_the_whole_fleet(api: ApiProcess, site: str, db: Db) -> None:
    # Workers do all they need there, on the whole way from the join token to a job.
    token = join_token(db.url, "--name-pattern", MINE, "--team", "red")
    _, enrolled = await call("POST", site + ENROLL_PATH, json={"join_token": token, "worker": MINE})
    status, rotated = await call("POST", site + ROTATE_PATH, enrolled["credential"])
    assert status == 201
    async with session(site, rotated["credential"], name=MINE) as worker:
        await worker.send(heartbeat(free_slots=1))
        (job,) = db.enqueue(team="red")
        await worker.report(await worker.accept())
        await until(lambda: db.state(job) == "succeeded", "the job has run")

        async with admin_client(site, admin_credential(db, **BOUNDS)) as scoped:
            assert [each["name"] for each in (await scoped.get("/workers"))["items"]] == [MINE]
            await scoped.call("PUT", f"/workers/{MINE}/maintenance", json={"comment": "disk"})
            await worker.expect("desired", maintenance=True)
            async with scoped.changes() as changes:
                await changes.until("worker", name=MINE)

        for role in ("admin", "read"):
            whole = admin_credential(db, role)
            # Whatever a client says about itself, the port that it has reached decides.
            for headers in ({}, {"Host": f"{LOCALHOST}:{api.port}", "X-Forwarded-Port": str(api.port)}):
                status, problem = await call("GET", f"{site}{ADMIN_PATH}/workers", whole, headers=headers)
                assert (status, problem["code"]) == (403, "scope_required")
            assert "EDGE_API_PORT" in problem["detail"]
            assert "--worker-pattern" in problem["detail"]
            assert (await call("GET", f"{api.url}{ADMIN_PATH}/workers", whole))[0] == 200

        # Repeats within a minute are counted together: the first one names its credential.
        def audited() -> bool:
            rows = db.rows("SELECT object FROM edge.audit WHERE action = 'refused.scope_required'")
            return len(rows) == 1 and rows[0].object.startswith("credential/")

        await until(audited, "the refusal is in the audit trail")
        changed, _ = await call("DELETE", f"{site}{ADMIN_PATH}/workers/{MINE}", admin_credential(db))
        assert changed == 403
        # Somebody without a valid credential does not learn more there than elsewhere.
        for invalid, code in ((None, "credential_missing"), (worker_credential(db, "w2"), "wrong_role")):
            assert (await call("GET", f"{site}{ADMIN_PATH}/workers", invalid))[1]["code"] == code


async def test_what_is_not_for_sites_is_not_on_their_port(api: ApiProcess, site: str) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert (await call("GET", site + path))[0] == 404, path
        assert (await call("GET", api.url + path))[0] == 200, path
    assert (await call("GET", site + INFO_PATH))[0] == 200
    assert (await call("GET", site + OPENAPI_PATH))[0] == 200


async def test_both_ports_end_with_the_process(api: ApiProcess, site: str, db: Db) -> None:
    async with (
        session(site, worker_credential(db, "far"), name="far") as far,
        session(api.url, worker_credential(db, "near"), name="near") as near,
    ):
        (listens,) = (line for line in api.lines() if line["message"] == "edge API listens")
        assert (listens["port"], listens["site_port"]) == (api.port, int(site.rpartition(":")[2]))
        api.terminate()
        assert [await each.closed() for each in (far, near)] == [1012, 1012]
    assert api.wait(20) == 0


async def test_without_the_setting_there_is_one_port(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    (listens,) = (line for line in api.lines() if line["message"] == "edge API listens")
    assert "site_port" not in listens
    assert (await call("GET", f"{api.url}{ADMIN_PATH}/workers", admin_credential(db)))[0] == 200
