"""What this side wishes about its maintenance, until the edge API has stored it: pure decisions, no I/O.

The store's desired row is the truth. A wish made here counts for this worker at once, so it takes no more jobs even
while the edge API is away, and is said again in each session until the edge API confirms it.
"""

from typing import Literal
from uuid import uuid4

from edge_protocol.frames import BY_HEALTH, BY_HOST, DesiredFrame, Maintenance
from edge_protocol.limits import COMMENT_MAX

Source = Literal["host", "health"]


class OwnMaintenance:
    """Wishes of the host and of its health check, beside what is desired."""

    def __init__(self) -> None:
        self.desired: DesiredFrame | None = None
        self.outbox: list[Maintenance] = []
        self._pending: dict[Source, Maintenance] = {}

    @property
    def host_wish(self) -> Maintenance | None:
        """The wish of the host that is not confirmed yet; kept over restarts."""
        return self._pending.get("host")

    @property
    def wish(self) -> Maintenance | None:
        """The wish that counts, if one is not confirmed yet."""
        return self._pending.get("host") or self._pending.get("health")

    @property
    def acknowledged(self) -> bool:
        """Whether the platform's wish for maintenance is known here."""
        return self.desired is not None and self.desired.maintenance

    @property
    def cordoned(self) -> bool:
        """Whether this worker takes no jobs for its maintenance."""
        return self.acknowledged or any(wish.on for wish in self._pending.values())

    @property
    def on(self) -> bool:
        """Whether maintenance is wished for, by the last word on it."""
        return self.acknowledged if self.wish is None else self.wish.on

    @property
    def comment(self) -> str | None:
        """Why."""
        if self.wish is not None:
            return self.wish.comment
        return self.desired.maintenance_comment if self.desired is not None else None

    @property
    def by(self) -> str | None:
        """Who."""
        if not self.on:
            return None
        if self.wish is not None:
            return BY_HOST if self.wish.source == "host" else BY_HEALTH
        return self.desired.maintenance_by if self.desired is not None else None

    def restore(self, wish: Maintenance) -> None:
        """Take over a wish that a former start could not get confirmed."""
        self._pending[wish.source] = wish

    def ask(self, *, on: bool, comment: str | None, source: Source = "host") -> None:
        """Wish to enter maintenance, or to leave it."""
        if source == "host":
            # The host's word is newer and stronger; a health check that disagrees says so again.
            self._pending.pop("health", None)
        wish = Maintenance(id=uuid4(), on=on, comment=comment, source=source)
        self._pending[source] = wish
        self.outbox.append(wish)

    def on_session(self) -> None:
        """Say everything again that is not confirmed: a new session is on."""
        self.outbox = sorted(self._pending.values(), key=lambda wish: wish.source != "host")

    def on_confirmed(self, wish: Maintenance) -> None:
        """Forget a wish that is stored."""
        self._pending.pop(wish.source, None)

    def find(self, wish_id: object) -> Maintenance | None:
        """Return the wish with an id, unless another one has replaced it."""
        return next((wish for wish in self._pending.values() if wish.id == wish_id), None)

    def on_health(self, reason: str | None) -> bool:
        """Draw the conclusion of a health check (None: all is well), and return whether there is something to say.

        It ends only a maintenance that a health check has set, also before the last restart.
        """
        if "host" in self._pending:
            return False
        if reason is not None:
            reason = reason[:COMMENT_MAX]
            if self.on and (self.by != BY_HEALTH or self.comment == reason):
                return False
            self.ask(on=True, comment=reason, source="health")
            return True
        if self.by != BY_HEALTH:
            return False
        self.ask(on=False, comment=None, source="health")
        return True
