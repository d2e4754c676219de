"""How tests wait in the line of a key."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Lines, Store, Waiting
from celery_locks.ticket import Stance, Ticket
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.base import Listening, Look, Wake


class Queue(Store, Lines):
    """What the tests of lines need of a store: its verbs and its lines. Never made."""


class OpensWith(Protocol):
    """Gives a store that keeps a released key for so many seconds for the first in its line."""

    def __call__(self, window: float) -> Queue: ...


#: Longer than a busy machine pauses, and than any test takes.
LONG = 120.0


class LineFixtures:
    """What the tests of lines ask for."""

    #: A claim window to wait for.
    brief: ClassVar[float] = 0.5
    #: A place is kept for so long for one that left.
    in_flight: ClassVar[float] = 0.5

    @pytest.fixture
    def open_with(self) -> OpensWith:
        raise NotImplementedError("a store with lines has a claim window: give its test an open_with fixture")

    @pytest.fixture
    def queue(self, open_with: OpensWith) -> Iterator[Queue]:
        """A store that keeps a key for whom it called until the test is over."""
        with contextlib.closing(open_with(LONG)) as store:
            yield store

    @pytest.fixture
    def hasty(self, open_with: OpensWith) -> Iterator[Queue]:
        """A store that soon passes over whoever does not come."""
        with contextlib.closing(open_with(self.brief)) as store:
            yield store


def ask(store: Store, key: str, name: str, ticket: str | None = None, stance: Stance = Stance.WAITS) -> Lease | Busy:
    """Ask with a ticket: a new one, or the one that brings back to a place."""
    return store.acquire(Claim(key, f"owner {name}", 30.0, ticket=Ticket(ticket or name, stance)))


def join(store: Store, key: str, name: str, ticket: str | None = None, stance: Stance = Stance.WAITS) -> Busy:
    """Ask for what must not be to be had."""
    answer = ask(store, key, name, ticket, stance)
    assert isinstance(answer, Busy), f"{name} was to wait for {key!r} and got {answer}"
    return answer


def joined(store: Store, key: str, *names: str) -> list[str]:
    """These stand in line now, with these tickets."""
    return [_ticket(join(store, key, name)) for name in names]


def _ticket(busy: Busy) -> str:
    assert busy.ticket
    return busy.ticket


def away(store: Store, key: str, name: str, ticket: str | None = None) -> str:
    """It joins the line and goes back to its queue."""
    busy = join(store, key, name, ticket, Stance.GOES)
    assert not busy.present
    return _ticket(busy)


def come(store: Store, key: str, name: str, ticket: str | None = None) -> Lease:
    """Take what was kept for this ticket, or what nobody waits for."""
    answer = ask(store, key, name, ticket)
    assert isinstance(answer, Lease), f"it was {name}'s turn to get {key!r}, not {answer}"
    return answer


def look(store: Lines, key: str, ticket: str = "") -> Look:
    return store.attend([Waiting(key, ticket)])[0]


def called(store: Lines, key: str, ticket: str) -> bool:
    """Whether the key is kept for this ticket. Whoever asks is present from now on."""
    return look(store, key, ticket).turn


@contextlib.contextmanager
def hearing(store: Lines, key: str | None = None) -> Iterator[Callable[[], Wake]]:
    """Gives the wakes of a store, one at a time; those of one key alone where others may still be called, too.

    It begins before the first call of its key: a cluster may still be carrying an earlier one to the node that listens.
    """
    with contextlib.closing(store.listen()) as listening:
        wakes = wakes_of(listening, key)
        yield lambda: next(wakes)


def heard_from(listening: Listening, key: str | None = None) -> Wake:
    """The next wake, or the next of a key."""
    return next(wakes_of(listening, key))


def wakes_of(listening: Listening, key: str | None = None) -> Iterator[Wake]:
    """Each wake that is heard, or each of a key."""
    while True:
        yield from (wake for wake in wait_until(lambda: listening.heard(0.1), "a wake") if key in (None, wake.key))


def quiet(listening: Listening, store: Store, key: str) -> bool:
    """Whether nothing more was said up to now: a wake of our own is the next that is heard.

    What was said of the key before was heard from the same listening, or a cluster may still be carrying it.
    """
    other = f"{key} to be heard"
    assert isinstance(ask(store, other, "first"), Lease)
    join(store, other, "second")
    assert store.release(Claim(other, "owner first", 30.0))

    def heard() -> list[str]:
        # Those of other tests may still be called.
        return [wake.key for wake in listening.heard(0.1) if wake.key.startswith(key)]

    return wait_until(heard, "a wake of our own") == [other]


def passed(seconds: float) -> None:
    """Wait until so much time has passed, in the store as well."""
    end = time.monotonic() + seconds + 0.02
    wait_until(lambda: time.monotonic() > end, f"{seconds:g} s to pass", timeout=seconds + 10)
