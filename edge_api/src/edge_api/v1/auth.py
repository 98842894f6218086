"""Shared-secret tokens of v1 workers: HS512, for the audience `api`, each good for one path and some seconds."""

import time
from typing import Final

import jwt

from edge_api.errors import RefusedError
from edge_api.identity.authenticator import FailureBrake

ALGORITHM: Final = "HS512"
AUDIENCE: Final = "api"
LEEWAY_S: Final = 30.0
"""Clocks of sites may differ by so much; Airflow's own default for these workers."""


class V1Tokens:
    """Checks tokens; without a secret it refuses every call."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret
        self._brake = FailureBrake()

    @property
    def enabled(self) -> bool:
        """Whether v1 is on."""
        return self._secret is not None

    def check(self, token: str | None, method: str, address: str) -> None:
        """Check the token of a call. `method` is the path after `/edge_worker/v1/`, which the token must name.

        Raises:
            RefusedError: v1 is switched off, or the token is invalid (403); too many failures (429).

        """
        if self._secret is None:
            raise RefusedError(
                403,
                "v1_switched_off",
                "The v1 wire is switched off here. Set EDGE_API_V1_JWT_SECRET to Airflow's [api_auth] jwt_secret, to "
                "let workers of the edge3 provider in; or enrol an edge-worker.",
            )
        try:
            self._check(self._secret, token, method)
        except RefusedError as refusal:
            now = time.monotonic()
            if self._brake.exhausted(address, now):
                # A valid token passes whatever others at its address do: checking one costs microseconds.
                raise RefusedError(
                    429, "too_many_failures", "Too many calls from this address failed to authenticate. Wait a while."
                ) from refusal
            self._brake.failed(address, now)
            raise

    @staticmethod
    def _check(secret: str, token: str | None, method: str) -> None:
        if not token:
            raise RefusedError(403, "token_missing", "The call carries no Authorization header with a token.")
        try:
            claims = jwt.decode(
                token.removeprefix("Bearer "),
                secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise RefusedError(403, "token_expired", "The token has expired. Synchronise the clocks.") from error
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError) as error:
            raise RefusedError(403, "token_early", "The token is from the future. Synchronise the clocks.") from error
        except jwt.PyJWTError as error:
            raise RefusedError(
                403, "token_invalid", "The token is invalid. Worker and platform need the same [api_auth] jwt_secret."
            ) from error
        if claims.get("method") != method:
            raise RefusedError(403, "token_for_another_call", "The token was made for another call.")
