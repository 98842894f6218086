"""The text of join tokens and worker credentials: `KIND_ID_SECRET`.

The id finds the row; the secret has 256 random bits, so a plain SHA-256 of it is safe to store, and fast to check.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID, uuid4

Kind = Literal["edgew", "edgej", "edgea"]

CREDENTIAL: Final = "edgew"
"""Prefix of worker credentials."""
JOIN_TOKEN: Final = "edgej"  # noqa: S105  (a prefix, no secret)
"""Prefix of join tokens."""
ADMIN: Final = "edgea"
"""Prefix of credentials for people and programs: roles admin and read."""

_SECRET_BYTES: Final = 32
_TEXT = re.compile(r"(edgew|edgej|edgea)_([0-9a-f]{32})_([A-Za-z0-9_-]{43,128})")


@dataclass(frozen=True, slots=True)
class Token:
    """A join token or credential in clear. Its secret is never shown by `repr`."""

    kind: str
    id: UUID
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The text that its owner keeps."""
        return f"{self.kind}_{self.id.hex}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """What the database keeps."""
        return hashlib.sha256(self.secret.encode()).digest()

    def matches(self, stored_digest: bytes) -> bool:
        """Return whether this is the token whose digest was stored, in constant time."""
        return hmac.compare_digest(self.digest, stored_digest)


def mint(kind: Kind) -> Token:
    """Make a new token."""
    return Token(kind, uuid4(), secrets.token_urlsafe(_SECRET_BYTES))


def parse(text: str, kind: Kind) -> Token | None:
    """Read a token of one kind, or None if the text is not one."""
    match = _TEXT.fullmatch(text)
    if match is None or match[1] != kind:
        return None
    return Token(kind, UUID(hex=match[2]), match[3])
