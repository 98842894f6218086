"""Room for task logs: the bound holds, and all senders get their turn."""

from uuid import UUID, uuid4

import pytest

from edge_api.held_bytes import HeldBytes
from edge_api.metrics import Metrics
from edge_api.sessions.log_room import GRANT_S, LOG_SHARE, LogRoom

MOST = 1000
WINDOW = 283
"""With what pieces take besides, room for three of 100 bytes."""


class Sender:
    def __init__(self) -> None:
        self.log = uuid4()
        self.ended = False


class World:
    def __init__(self) -> None:
        self.held = HeldBytes(MOST, Metrics())
        self.asked: list[Sender] = []
        self.now = 0.0
        self.room = LogRoom(self.held, Metrics(), WINDOW, self._ask, lambda: self.now)
        self.held.freed = self.room.give

    def _ask(self, sender: Sender, logs: set[UUID]) -> None:
        assert logs == {sender.log}
        self.asked.append(sender)

    def sends(self, sender: Sender, size: int = 100) -> bool:
        if not self.room.admits(sender, sender.log, size):
            return False
        self.held.add(size)
        return True

    def fill(self) -> None:
        while self.sends(Sender()):
            pass


@pytest.fixture
def world() -> World:
    made = World()
    made.fill()
    return made


def test_logs_leave_a_part_to_other_frames(world: World) -> None:
    assert not world.held.fits(100, LOG_SHARE)
    assert world.held.fits(int((1 - LOG_SHARE) * MOST))


def test_who_waits_is_asked_in_turn_with_room_for_a_window(world: World) -> None:
    first, second = Sender(), Sender()
    assert not world.sends(first)
    assert not world.sends(second)
    assert not world.sends(first)
    # The newcomer that filled the room waits as well, before these.
    world.held.remove(300)
    assert len(world.asked) == 1
    assert first not in world.asked
    world.held.remove(300)
    assert world.asked[1:] == [first]
    assert [world.sends(first) for _ in range(4)] == [True, True, True, False]


def test_room_that_is_not_used_goes_to_the_next(world: World) -> None:
    first = Sender()
    assert not world.sends(first)
    world.held.remove(300)
    assert len(world.asked) == 1
    world.now = GRANT_S + 1
    world.room.give()
    assert world.asked[1:] == [first]


def test_who_is_gone_keeps_no_room(world: World) -> None:
    first = Sender()
    assert not world.sends(first)
    world.held.remove(300)
    world.asked[0].ended = first.ended = True
    world.held.remove(400)
    assert world.asked[1:] == []
    assert world.held.fits(MOST)
