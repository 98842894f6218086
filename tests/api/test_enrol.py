"""Enrolment, credentials, and the answers to wrong ones."""

from typing import Any

import aiohttp
import pytest

from edge_protocol import rest
from edge_testing.database.db import Db
from edge_testing.edge_api.commands import join_token
from edge_testing.edge_api.credentials import bearer, enroll
from edge_testing.edge_api.process import ApiProcess, StartApi
from edge_testing.edge_api.session import connect, hello, session


async def post(api: ApiProcess, path: str, body: Any, credential: str | None = None) -> tuple[int, dict[str, Any]]:
    headers = {} if credential is None else bearer(credential)
    async with aiohttp.ClientSession() as http, http.post(f"{api.url}{path}", json=body, headers=headers) as answer:
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"
        return answer.status, await answer.json(content_type=None)


async def refused(api: ApiProcess, token: str, worker: str, **fields: Any) -> tuple[int, str, str]:
    status, problem = await post(api, rest.ENROLL_PATH, {"join_token": token, "worker": worker, **fields})
    return status, problem["code"], problem["detail"]


async def test_a_join_token_gives_what_it_grants(shared: ApiProcess, shared_db: Db) -> None:
    token = join_token(
        shared_db.url, "--queues", "press,paint", "--team", "blue", "--name-pattern", "plant-*", "--uses", "1"
    )
    status, made = await post(shared, rest.ENROLL_PATH, {"join_token": token, "worker": "plant-7", "queues": ["press"]})
    assert (status, made["worker"], made["team"], made["queues"]) == (201, "plant-7", "blue", ["press"])
    async with session(shared.url, made["credential"], name="plant-7"):
        worker = shared_db.worker("plant-7")
    assert (worker.team, worker.queues) == ("blue", ["press"])
    status, code, detail = await refused(shared, token, "plant-8")
    assert (status, code) == (403, "join_token_used_up")
    assert "edge-api token create" in detail


async def test_bad_join_tokens(shared: ApiProcess, shared_db: Db) -> None:
    good = join_token(shared_db.url)
    forged = good[:-4] + "AAAA"
    assert (await refused(shared, "nonsense", "w1"))[:2] == (401, "join_token_invalid")
    assert (await refused(shared, forged, "w1"))[:2] == (401, "join_token_unknown")
    shared_db.rows("UPDATE edge.join_token SET expires_at = now() - interval '1 s'")
    assert (await refused(shared, good, "w1"))[:2] == (403, "join_token_expired")
    shared_db.rows("UPDATE edge.join_token SET revoked_at = now()")
    assert (await refused(shared, good, "w1"))[:2] == (403, "join_token_revoked")
    assert shared_db.rows("SELECT count(*) AS n FROM edge.credential")[0].n == 0


async def test_limits_of_a_join_token(shared: ApiProcess, shared_db: Db) -> None:
    token = join_token(shared_db.url, "--queues", "press", "--name-pattern", "plant-*")
    assert (await refused(shared, token, "shop-1"))[:2] == (403, "worker_name_not_allowed")
    status, code, detail = await refused(shared, token, "plant-1", queues=["press", "paint"])
    assert (status, code) == (403, "queue_not_granted")
    assert "paint" in detail


@pytest.mark.parametrize("name", ["", "w" * 254, "a b", "-x", "w\u00e9", "a/b", "..", "w\n"])
async def test_bad_worker_names(shared: ApiProcess, shared_db: Db, name: str) -> None:
    status, code, detail = await refused(shared, join_token(shared_db.url), name)
    assert (status, code) == (422, "invalid_request")
    assert detail.startswith("worker: ")


@pytest.mark.parametrize("queue", ["q" * 257, "", "a\x00b"])
async def test_bad_queue_names(shared: ApiProcess, shared_db: Db, queue: str) -> None:
    status, code, detail = await refused(shared, join_token(shared_db.url), "w1", queues=[queue])
    assert (status, code) == (422, "invalid_request")
    assert detail.startswith("queues.0: ")


async def test_the_name_of_a_live_worker_is_taken(shared: ApiProcess, shared_db: Db) -> None:
    first = await enroll(shared.url, shared_db.url, "w1")
    second = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, first), connect(shared.url, second) as stranger:
        status, code, detail = await refused(shared, join_token(shared_db.url), "w1")
        assert (status, code) == (409, "name_taken")
        assert "Choose another name" in detail
        await stranger.send(hello("w1"))
        assert (await stranger.expect("error"))["code"] == "name_taken"
        assert await stranger.closed() == 1008


async def test_calls_without_a_valid_credential(shared: ApiProcess, shared_db: Db) -> None:
    good = await enroll(shared.url, shared_db.url, "w1")
    bad = {
        None: "credential_missing",
        "nonsense": "credential_invalid",
        join_token(shared_db.url): "credential_invalid",
        good[:-4] + "AAAA": "credential_unknown",
    }
    for credential, code in bad.items():
        status, problem = await post(shared, rest.SYNC_PATH, {"frames": []}, credential)
        assert (status, problem["code"]) == (401, code)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connect(shared.url, credential or ""):
                pass
        assert caught.value.status == 401
    shared_db.rows("UPDATE edge.credential SET expires_at = now() - interval '1 s'")
    status, problem = await post(shared, rest.SYNC_PATH, {"frames": []}, good)
    assert (status, problem["code"]) == (401, "credential_expired")
    assert "edge-worker enroll" in problem["detail"]


async def test_a_revoked_credential_ends_its_session(shared: ApiProcess, shared_db: Db) -> None:
    credential = await enroll(shared.url, shared_db.url, "w1")
    async with session(shared.url, credential) as worker:
        shared_db.rows(
            "WITH c AS (UPDATE edge.credential SET revoked_at = now() RETURNING id) "
            "SELECT pg_notify('edge', 'credential ' || id) FROM c"
        )
        assert (await worker.expect("error", fatal=True))["code"] == "credential_revoked"
        assert await worker.closed() == 1008
    status, problem = await post(shared, rest.SYNC_PATH, {"frames": []}, credential)
    assert (status, problem["code"]) == (401, "credential_revoked")


async def test_only_hashes_are_stored_and_nothing_secret_is_logged(shared: ApiProcess, shared_db: Db) -> None:
    token = join_token(shared_db.url)
    _, made = await post(shared, rest.ENROLL_PATH, {"join_token": token, "worker": "w1"})
    secrets = [text.split("_", 2)[2] for text in (token, made["credential"])]
    stored = str(shared_db.rows("SELECT * FROM edge.credential")) + str(shared_db.rows("SELECT * FROM edge.join_token"))
    async with session(shared.url, made["credential"]) as worker:
        shared_db.enqueue(workload='{"token": "task-secret"}')
        await worker.report(await worker.accept())
    for secret in [*secrets, "task-secret"]:
        assert secret not in stored
        assert secret not in shared.log.read_text()


async def test_guessing_is_slowed_down(start_api: StartApi, db: Db) -> None:
    api = await start_api()
    good = await enroll(api.url, db.url, "w1")
    async with session(api.url, good):
        seen = set()
        for guess in range(80):
            forged = f"edgew_{guess:032x}_{'A' * 43}"
            status, _ = await post(api, rest.SYNC_PATH, {"frames": []}, forged)
            seen.add(status)
        assert seen == {401, 429}
        # Enrolled workers are served meanwhile.
        status, _ = await post(api, rest.SYNC_PATH, {"frames": []}, good)
        assert status == 200
