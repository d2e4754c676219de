"""What a unit test may ask for."""

from __future__ import annotations

import os
import sys

import pytest

from celery_locks.board import Board, Region
from celery_locks.lease import Claim, Lease
from celery_locks.parent import Parent, adopt
from celery_locks.pool import burial
from tests.apart import no_apps_from_other_tests
from tests.unit.fake_consumer import at_work
from tests.unit.fakes import START, FakeClock, Room
from tests.unit.floor import floor, no_other_work, three
from tests.unit.hall import hall
from tests.unit.mail import mail, refusing
from tests.unit.pools import Pool
from tests.unit.relay import relay

__all__ = [
    "at_work",
    "floor",
    "hall",
    "mail",
    "no_apps_from_other_tests",
    "no_other_work",
    "refusing",
    "relay",
    "three",
]

#: Python 3.10 looks for signals in more places than the newer ones, and some of them nobody can cover.
collect_ignore = ["test_interrupted.py"] if sys.version_info < (3, 11) else []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def hold(room: Room):
    """Take a key and watch its lease, with a beat every ten seconds."""

    def take(key: str = "wallet:42", *, ttl: float = 30.0, interval: float = 10.0, on_lost=None) -> Lease:
        lease = room.store.acquire(room.claim(key, ttl=ttl))
        assert isinstance(lease, Lease)
        room.keeper.watch(lease, interval, on_lost)
        return lease

    return take


@pytest.fixture
def lease(clock: FakeClock) -> Lease:
    return Lease(Claim("wallet:42", "me", 10.0), fence=7, deadline=START + 10.0, clock=clock)


@pytest.fixture
def lock(room: Room):
    return room.locks.lock("wallet:42", ttl=10.0)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own CELERY_LOCK_... must not change a test."""
    for name in list(os.environ):
        if name.startswith("CELERY_LOCK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def board() -> Board:
    return Board(1)


@pytest.fixture
def rings(board: Board, room: Room):
    """How often the parent was rung for; this process is its child meanwhile."""
    rings: list[float] = []
    room.keeper.is_inherited = True
    adopt(Parent(board, 0, lambda: rings.append(room.clock.now)))
    yield rings
    adopt(None)


@pytest.fixture
def region(board: Board, rings: list[float]) -> Region:
    assert rings, "its birth was told"
    rings.clear()
    return board.regions[0]


@pytest.fixture
def pool(room: Room, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Of a worker's main process."""
    monkeypatch.setattr(burial, "ONCE_MORE", 0.0)
    return Pool(room)
