"""The relay takes the worker's own way to the edge API: its proxy and its private CA."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edge_protocol.frames import Report
from edge_testing.connect_proxy import ConnectProxy
from edge_testing.edge_api.fake import FakeEdgeApi
from edge_testing.kubernetes.certificates import write_server_certificate
from edge_testing.workers.agent import start_agent, write_credential

HOST = "edge.example"
"""Only the proxy knows where it is."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeEdgeApi]:
    """An edge API with a certificate of a CA that nobody else trusts."""
    write_server_certificate(tmp_path, "edge", [], [HOST])
    server = FakeEdgeApi()
    server.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.tls.load_cert_chain(tmp_path / "edge.crt", tmp_path / "edge.key")
    server.welcome["execution_forwarded"] = True
    await server.start()
    yield server
    await server.stop()


async def test_a_site_behind_a_proxy_with_a_private_ca(api: Any, tmp_path: Path) -> None:
    write_credential(tmp_path / "state", "w1", f"https://{HOST}", api.credential)
    async with ConnectProxy(api.port).serve() as proxy:
        environ = {
            "EDGE_WORKER_CA_BUNDLE": str(tmp_path / "ca.crt"),
            "http_proxy": proxy.url,
            "https_proxy": proxy.url,
            "no_proxy": "",
        }
        agent = await start_agent(tmp_path / "state", tmp_path / "log", environ=environ)
        try:
            gate = tmp_path / "gate"
            wait = f"until [ -e {gate} ]; do sleep 0.05; done"
            lease = api.offer(f'echo "$EXECUTION_API"; {wait}')
            url = (await api.wait_log(lease, b"\n")).decode().strip()
            async with aiohttp.ClientSession() as http, http.get(f"{url}variables/x") as answer:
                assert answer.status == 200
            [(path, seen, _)] = api.execution_calls
            assert path.endswith("/variables/x")
            assert seen["Authorization"] == f"Bearer {api.credential}"
            assert set(proxy.asked) == {f"{HOST}:443"}
            await asyncio.to_thread(gate.touch)
            await api.wait_for(Report, lease)
        finally:
            await agent.kill()
