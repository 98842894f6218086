"""Join tokens for new workers. A token is in one answer only, which nobody may store."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Path as PathParameter

from edge_protocol.admin import TOKENS_PATH, TokenCreated, TokenPage, TokenRequest, token_path
from edge_provider.ui.access import FromPage, Viewer, WhoLooks, forbidden
from edge_provider.ui.client import EdgeApi, EdgeApiError


class JoinTokenPages:
    """Creates, lists and revokes join tokens."""

    def __init__(self, api: EdgeApi) -> None:
        self._api = api
        self.router = router = APIRouter()
        router.get("/tokens")(self.tokens)
        router.post("/tokens", status_code=201, response_model=TokenCreated, dependencies=[FromPage])(self.create)
        router.delete("/tokens/{token_id}", status_code=204, dependencies=[FromPage])(self.revoke)

    async def tokens(self, viewer: WhoLooks) -> TokenPage:
        """List the latest join tokens, without their secrets."""
        await _check_mint(viewer, None)
        found = await self._api.get(TokenPage, TOKENS_PATH)
        return TokenPage(items=[token for token in found.items if viewer.sees_team(token.team)], next=found.next)

    async def create(self, viewer: WhoLooks, body: TokenRequest) -> Response:
        """Create a join token."""
        await _check_mint(viewer, body.team)
        if viewer.teams is not None and body.team is None:
            raise EdgeApiError(422, "team_missing", "Choose one of your teams: this worker would be of no team.")
        created = await self._api.write(TokenCreated, viewer.name, "POST", TOKENS_PATH, body)
        return Response(created.model_dump_json(), 201, {"Cache-Control": "no-store"}, "application/json")

    async def revoke(self, viewer: WhoLooks, token_id: Annotated[str, PathParameter(max_length=64)]) -> Response:
        """Revoke a join token. Workers that have enrolled with it stay."""
        visible = await self.tokens(viewer)
        if token_id not in {str(token.id) for token in visible.items}:
            raise EdgeApiError(404, "token_unknown", "There is no such join token.")
        await self._api.delete(viewer.name, token_path(token_id))
        return Response(status_code=204)


async def _check_mint(viewer: Viewer, team: str | None) -> None:
    if not await viewer.may_mint(team):
        raise forbidden("You may not create join tokens: that needs the permission to create connections.")
