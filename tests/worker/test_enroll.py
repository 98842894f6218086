"""`edge-worker enroll` and the errors of the command, each one line that says how to fix it."""

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edge_protocol.frames import Report
from edge_protocol.rest import ApiInfo, Problem
from edge_testing.waiting import until
from edge_testing.workers.agent import write_credential


class Result(NamedTuple):
    code: int
    out: str
    err: str


async def edge_worker(*arguments: str, stdin: str = "", environ: dict[str, str] | None = None) -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge_worker",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


def one_line(result: Result, *parts: str, code: int = 2) -> None:
    assert result.code == code
    assert result.err.startswith("edge-worker: ")
    assert result.err.count("\n") == 1
    for part in parts:
        assert part in result.err


async def test_enrols_with_a_token_file(api: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("join-me\n")
    state = tmp_path / "state"
    result = await edge_worker(
        *("enroll", "--api-url", f"{api.url}/", "--name", "w1", "--state-dir", str(state)),
        *("--join-token-file", str(tmp_path / "token")),
    )
    assert result.code == 0, result.err
    assert result.out.startswith("enrolled w1 until ")
    stored = json.loads((state / "credential.json").read_text())
    assert (stored["worker"], stored["credential"], stored["api_url"]) == ("w1", "good", api.url)
    assert stat.S_IMODE((state / "credential.json").stat().st_mode) == 0o600
    assert "good" not in result.out + result.err


@pytest.mark.parametrize("way", ["stdin", "environment"])
async def test_enrols_with_a_token_from(api: Any, tmp_path: Path, way: str) -> None:
    arguments = ["enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)]
    if way == "stdin":
        result = await edge_worker(*arguments, "--join-token-file", "-", stdin="join-me\n")
    else:
        result = await edge_worker(*arguments, environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"})
    assert result.code == 0, result.err


async def test_run_enrols_itself_if_a_token_is_given(api: Any, start_agent: Any, state_dir: Path) -> None:
    (state_dir / "credential.json").unlink()
    agent = await start_agent("--api-url", api.url, environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"})
    lease = api.offer("true")
    assert (await api.wait_for(Report, lease)).outcome == "succeeded"
    assert "join-me" not in agent.output()


async def test_runner_does_not_see_the_join_token(api: Any, start_agent: Any) -> None:
    agent = await start_agent(airflow=True, environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"})
    await api.wait_for(Report, api.offer("{}"))
    runners = children(agent.pid)
    assert runners
    assert not any("join-me" in environ_of(runner) for runner in runners)


def children(pid: int) -> list[int]:
    lists = [thread.joinpath("children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for child in " ".join(lists).split()]


def environ_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def test_wrong_join_token(api: Any, tmp_path: Path) -> None:
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "not-this"},
    )
    one_line(result, "enrolment refused: the join token is not known")
    assert "not-this" not in result.err
    assert not (tmp_path / "credential.json").exists()


async def test_name_of_a_live_worker(api: Any, tmp_path: Path) -> None:
    api.join_problem = Problem(
        title="taken", status=409, detail="the name w1 is taken; choose another --name", code="worker_name_taken"
    )
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, "the name w1 is taken; choose another --name")


async def test_url_that_is_not_this_api(api: Any, tmp_path: Path) -> None:
    api.info = ApiInfo(api="something-else", version="1", protocol_min=2, protocol_max=2)
    for url in (api.url, f"{api.url}/elsewhere"):
        result = await edge_worker(
            *("enroll", "--api-url", url, "--name", "w1", "--state-dir", str(tmp_path)),
            environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
        )
        one_line(result, f"{url} is not an Airflow Edge API", "--api-url")


async def test_protocol_without_overlap(api: Any, tmp_path: Path) -> None:
    api.info = ApiInfo(version="9", protocol_min=7, protocol_max=9)
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, "speaks protocol 7 to 9", "upgrade this worker")


async def test_api_that_is_not_reachable(api: Any, tmp_path: Path) -> None:
    url = api.url
    await api.stop()
    result = await edge_worker(
        *("enroll", "--api-url", url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, f"cannot reach the edge API at {url}", "check --api-url", code=1)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("call", ["info", "enrolment"])
async def test_temporary_failures_are_no_refusal(api: Any, tmp_path: Path, call: str, status: int) -> None:
    busy = Problem(title="busy", status=status, detail="later", code="busy")
    if call == "info":
        api.info_problem = busy
    else:
        api.join_problem = busy
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, f"cannot reach the edge API at {api.url}", f"status {status}", code=1)


async def test_run_waits_for_an_edge_api_that_is_away(api: Any, start_agent: Any, state_dir: Path) -> None:
    (state_dir / "credential.json").unlink()
    api.info_problem = Problem(title="away", status=503, detail="no backend", code="away")
    agent = await start_agent("--api-url", api.url, environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"})
    await until(lambda: "trying again" in agent.output(), "it has tried")
    assert "status 503" in agent.output()
    api.info_problem = None
    assert (await api.wait_for(Report, api.offer("true"))).outcome == "succeeded"


LONG_QUEUE = "q" * 257


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--name", ""], ["setting 'name'", "1 to 253"]),
        (["run", "--name", "x" * 254], ["setting 'name'", "1 to 253"]),
        (["run", "--name", "a b"], ["setting 'name'", "'a b'"]),
        (["run", "--name", "w", "--concurrency", "0"], ["EDGE_WORKER_CONCURRENCY", "from 1 to"]),
        (["run", "--name", "w", "--concurrency", "many"], ["EDGE_WORKER_CONCURRENCY", "'many'"]),
        (["run", "--name", "w", "--queues", LONG_QUEUE], ["setting 'queues'", "1 to 256 characters"]),
        (["run", "--name", "w", "--queues", ","], ["setting 'queues'"]),
        (["run", "--name", "w", "--api-url", "ftp://x"], ["setting 'api_url'", "https://"]),
        (["run", "--name", "w", "--transport", "pigeon"], ["setting 'transport'", "auto, websocket or sync"]),
        (["run", "--name", "w"], ["is not enrolled", "edge-worker enroll"]),
        (["enroll", "--name", "w", "--api-url", "http://x"], ["no join token", "edge-api token create"]),
        (["enroll", "--name", "w", "--join-token-file", "/nowhere"], ["/nowhere cannot be read"]),
    ],
)
async def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    one_line(await edge_worker(*arguments, "--state-dir", str(tmp_path)), *parts)


async def test_token_without_an_api_url(tmp_path: Path) -> None:
    result = await edge_worker(
        *("enroll", "--name", "w", "--state-dir", str(tmp_path)), environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"}
    )
    one_line(result, "no API URL", "--api-url")


async def test_ca_bundle_without_a_certificate(api: Any, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        *("--ca-bundle", str(tmp_path / "ca.pem")),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, "ca.pem cannot be read", "PEM")


async def test_credential_of_another_worker(state_dir: Path) -> None:
    result = await edge_worker("run", "--name", "w2", "--state-dir", str(state_dir))
    one_line(result, "credential of worker 'w1', not 'w2'")


async def test_credential_file_that_is_broken(state_dir: Path) -> None:
    (state_dir / "credential.json").write_text('{"credential": "secret-thing"}')
    result = await edge_worker("run", "--name", "w1", "--state-dir", str(state_dir))
    one_line(result, "credential.json cannot be read", "edge-worker enroll")
    assert "secret-thing" not in result.err


async def test_state_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = await edge_worker("run", "--name", "w1", "--state-dir", str(tmp_path / "file" / "state"))
    one_line(result, "cannot be used", "--state-dir")


async def test_netrc_is_not_read(api: Any, start_agent: Any, state_dir: Path, tmp_path: Path) -> None:
    (state_dir / "credential.json").unlink()
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    (tmp_path / ".netrc").chmod(0o600)
    environ = {"HOME": str(tmp_path), "EDGE_WORKER_JOIN_TOKEN": "join-me"}
    await start_agent("--api-url", api.url, environ=environ)
    assert (await api.wait_for(Report, api.offer("true"))).outcome == "succeeded"


async def test_join_token_does_not_follow_a_redirect(api: Any, tmp_path: Path) -> None:
    api.enroll_redirect = "http://127.0.0.1:1/elsewhere"
    result = await edge_worker(
        *("enroll", "--api-url", api.url, "--name", "w1", "--state-dir", str(tmp_path)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, f"{api.url} redirects to 'http://127.0.0.1:1/elsewhere'", "--api-url")


@pytest.mark.parametrize("command", ["enroll", "run"])
async def test_plain_http_to_another_host_is_refused(tmp_path: Path, command: str) -> None:
    state = tmp_path / "state"
    write_credential(state, "w1", "http://edge.example", "good")
    result = await edge_worker(
        *(command, "--api-url", "http://edge.example", "--name", "w1", "--state-dir", str(state)),
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me"},
    )
    one_line(result, "http://edge.example is plain HTTP", "EDGE_WORKER_ALLOW_PLAIN_HTTP=true")


async def test_plain_http_that_is_allowed_goes_through_the_proxy_of_the_environment(api: Any, tmp_path: Path) -> None:
    result = await edge_worker(
        *("enroll", "--api-url", "http://edge.example", "--name", "w1", "--state-dir", str(tmp_path)),
        "--allow-plain-http",
        environ={"EDGE_WORKER_JOIN_TOKEN": "join-me", "http_proxy": api.url, "no_proxy": ""},
    )
    assert result.code == 0, result.err
