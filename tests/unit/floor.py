"""A worker whose slots are busy or not, and three jobs that wait in it."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from celery.worker import state

from celery_locks.stores.base import Waiting
from celery_locks.worker.aside import LOOK, Aside, Place
from tests.unit.hall import KEY, Hall

if TYPE_CHECKING:
    from celery_locks.lease import Busy


def dated(number: int, name: str) -> str:
    return f"{1_700_000_000_000_000 + number}-{name}"


FIRST, SECOND, THIRD = (dated(number, name) for number, name in enumerate(("ann", "bob", "cid")))


class Request:
    """A job's message, as it is when it waits for a slot or has one."""

    def __init__(self, task: str = "bank.withdraw") -> None:
        self.task = SimpleNamespace(name=task)
        self.has_begun = False


class Floor:
    """A worker whose slots are busy or not, and the jobs that wait in it."""

    def __init__(self, *, slots: int = 1) -> None:
        self.hall = Hall()
        self.lines = self.hall.lines
        self.consumer = SimpleNamespace(
            pool=SimpleNamespace(num_processes=slots, limit=1), task_buckets=defaultdict(lambda: None)
        )
        self.aside = Aside(self.consumer, self.hall.clock)
        self.aside._rounds.thread = threading.current_thread()
        self.started: list[str] = []
        self.told: list[Busy] = []
        self.requests: dict[str, Request] = {}
        self.places: dict[str, Place] = {}

    def come(self, ticket: str, key: str = KEY, *, joins: bool = False) -> Place:
        request = self.requests[ticket] = Request()
        joined = self.told.append if joins else None

        def start(ticket: str) -> None:
            assert not request.has_begun
            self.started.append(ticket)

        place = Place(self.hall.guard, Waiting(key, ticket), weakref.ref(request), start, joined)
        self.places[ticket] = place
        self.aside.wait(place)
        return place

    def call(self, ticket: str, date: str = "") -> None:
        """Its turn has come, and it is sent to the pool."""
        self.hall.waker._roll.remove(ticket).call(date or ticket)
        self.aside.begin(self.places[ticket])
        state.reserved_requests.add(self.requests[ticket])

    def begins(self, ticket: str) -> None:
        """It has a slot."""
        self.requests[ticket].has_begun = True

    def ends(self, ticket: str) -> None:
        self.begins(ticket)
        state.reserved_requests.discard(self.requests[ticket])

    def busy(self) -> Request:
        """Another job has the slot as long as this is kept."""
        request = Request("other")
        request.has_begun = True
        state.reserved_requests.add(request)
        return request

    def later(self, seconds: float) -> None:
        self.hall.clock.advance(seconds)
        self.aside._attend()

    def looks(self) -> None:
        """The look that sees that one has begun, and the one after it."""
        self.later(LOOK)
        self.later(LOOK)

    def waits(self) -> list[str]:
        """Who could be called, by when they came."""
        return [each.ticket for each in self.hall.waker._roll.everybody()]

    def left(self) -> list[str]:
        found = [each.ticket for each in self.lines.left]
        self.lines.left.clear()
        return found


@pytest.fixture
def no_other_work(monkeypatch):
    """Those of other tests may still be about."""
    monkeypatch.setattr(state, "reserved_requests", weakref.WeakSet())


@pytest.fixture
def floor() -> Floor:
    return Floor()


@pytest.fixture
def three(floor):
    """Three wait for one key, and the slot is busy."""
    for ticket in (FIRST, SECOND, THIRD):
        floor.come(ticket)
    with_slot = floor.busy()
    yield floor
    assert with_slot.has_begun
