"""When a credential is due for rotation; the rotation itself is tested against a real edge API."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from edge_worker.connection.credential import CredentialRotation, StoredCredential
from edge_worker.host.state import StateFolder

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_credential_is_due_at_three_quarters_of_its_lifetime() -> None:
    credential = StoredCredential(
        worker="w",
        credential="secret",
        credential_id="id",
        expires_at=START + timedelta(days=100),
        api_url="http://x",
        received_at=START,
    )
    assert "secret" not in repr(credential)
    now = START
    async with aiohttp.ClientSession() as client:
        rotation = CredentialRotation(client, StateFolder(Path("/x")), credential, "http://x", lambda: now)
        assert rotation.due_in() == timedelta(days=75).total_seconds()
        now = START + timedelta(days=80)
        assert rotation.due_in() < 0
