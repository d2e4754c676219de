"""The waker: tells the store who is present, and calls each when its turn comes."""

from __future__ import annotations

import threading

import pytest

from celery_locks import StoreUnavailable, roll, waker
from celery_locks.stores.base import Lines, Listening, Look, Waiting, Wake
from celery_locks.waker import Waker
from tests.unit.fakes import FakeClock, in_child
from tests.waiting import wait_until

KEY, OTHER = "wallet:42", "wallet:43"


class Silence(Listening):
    """Nothing is said until it is told to say something, or breaks."""

    def __init__(self, store: FakeLines) -> None:
        self.store = store
        self.closed = False

    def heard(self, timeout: float) -> list[Wake]:
        with self.store.changed:
            self.store.changed.wait_for(lambda: self.store.said or self.store.broken, min(timeout, 0.2))
            if self.store.broken:
                self.store.broken = False
                raise StoreUnavailable("the connection broke")
            said, self.store.said = self.store.said, []
            return said

    def close(self) -> None:
        self.closed = True


class FakeLines(Lines):
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.attended: list[list[Waiting]] = []
        self.looks: dict[Waiting, Look] = {}
        self.left: list[Waiting] = []
        self.said: list[Wake] = []
        self.listened = 0
        self.broken = self.down = False
        self.changed = threading.Condition()

    def attend(self, waiting):
        self.attended.append(list(waiting))
        if self.down:
            raise StoreUnavailable("the server does not answer")
        return [self.looks.get(each, Look(30.0, turn=False)) for each in waiting]

    def leave(self, waiting):
        self.left += waiting

    def listen(self):
        self.listened += 1
        return Silence(self)

    def say(self, *wakes: Wake) -> None:
        with self.changed:
            self.said += wakes
            self.changed.notify_all()


@pytest.fixture
def lines() -> FakeLines:
    return FakeLines()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def still(lines: FakeLines, clock: FakeClock, monkeypatch) -> Waker:
    """A waker that does something only when it is told to."""
    monkeypatch.setattr(roll, "LATER", 0.0)
    monkeypatch.setattr(waker, "AGAIN", 0.0)
    made = Waker(lines, clock)
    made._rounds.thread = made._listener = threading.current_thread()
    return made


def test_who_waits_is_told_to_the_store_once(still, lines):
    """All that have come since the last time go in one call."""
    for ticket in ("1-a", "2-b"):
        still.wait(Waiting(KEY, ticket), lambda _: None)
    still._attend()
    still._attend()
    assert lines.attended == [[Waiting(KEY, "1-a"), Waiting(KEY, "2-b")]]


def test_a_wake_calls_its_ticket_once(still):
    """A wake that comes twice calls once."""
    called = []
    still.wait(Waiting(KEY, "1-a"), called.append)
    for _ in range(2):
        still._woken(Wake(KEY, "1-a", turn=True, window=2.0))
    assert called == ["1-a"]


def test_a_wake_for_somebody_else_calls_nobody(still):
    """Its job waits in another worker."""
    called = []
    still.wait(Waiting(KEY, "1-a"), called.append)
    still._woken(Wake(KEY, "1-b", turn=True, window=2.0))
    assert called == []


def test_the_next_is_called_to_wait_in_a_slot(still):
    """A wake without a turn calls too."""
    called = []
    still.wait(Waiting(KEY, "1-a"), called.append)
    still._woken(Wake(KEY, "1-a", turn=False, window=2.0))
    assert called == ["1-a"]


def test_a_wake_that_came_before_its_message_is_not_lost(still, lines):
    """The store says at once that the key is kept for it."""
    called = []
    lines.looks[Waiting(KEY, "1-a")] = Look(2.0, turn=True)
    still.wait(Waiting(KEY, "1-a"), called.append)
    still._attend()
    assert called == ["1-a"]


def test_a_line_is_looked_at_when_its_lease_is_over(still, lines, clock):
    """A holder that died gives nothing back: somebody has to look."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    still._attend()
    clock.advance(29.9)
    still._attend()
    assert len(lines.attended) == 1
    clock.advance(0.2)
    still._attend()
    assert lines.attended[1:] == [[Waiting(KEY, "")]]


def test_a_line_is_looked_at_when_a_claim_window_is_over(still, lines, clock):
    """Whoever was called elsewhere may not come."""
    still.wait(Waiting(KEY, "2-b"), lambda _: None)
    still._attend()
    still._woken(Wake(KEY, "1-a", turn=True, window=2.0))
    clock.advance(2.1)
    still._attend()
    assert lines.attended[1:] == [[Waiting(KEY, "")]]


def test_nobody_looks_at_a_line_where_nobody_waits(still, lines, clock):
    """Neither after it was called nor after it was forgotten."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    still.wait(Waiting(OTHER, "1-b"), lambda _: None)
    still._attend()
    still._woken(Wake(KEY, "1-a", turn=True, window=2.0))
    still.forget("1-b")
    clock.advance(100.0)
    still._attend()
    assert len(lines.attended) == 1
    assert (still._roll.keys, still._roll.waiters, still._due()) == ({}, {}, None)


def test_one_look_a_key_however_many_wait(still, lines, clock):
    """A key's line is one."""
    for number in range(5):
        still.wait(Waiting(KEY, f"{number}-x"), lambda _: None)
    still._attend()
    clock.advance(31.0)
    still._attend()
    assert lines.attended[1:] == [[Waiting(KEY, "")]]


def test_one_forgotten_before_it_was_told_is_not_told(still, lines):
    """Its job was called or revoked meanwhile."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    still.forget("1-a")
    still._attend()
    assert lines.attended == []


def test_an_outage_forgets_nobody(still, lines):
    """Who was to be told is told when the store is back."""
    called = []
    still.wait(Waiting(KEY, "1-a"), called.append)
    lines.down = True
    still._attend()
    lines.down = False
    lines.looks[Waiting(KEY, "1-a")] = Look(2.0, turn=True)
    still._attend()
    assert called == ["1-a"]


def test_all_can_be_forgotten_at_once(still):
    """As at a worker's end, which says who they were."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    still.wait(Waiting(OTHER, "2-b"), lambda _: None)
    assert sorted(still.all_forgotten()) == [Waiting(KEY, "1-a"), Waiting(OTHER, "2-b")]
    assert still.all_forgotten() == []


def test_its_threads_call_who_is_woken(lines, monkeypatch):
    """The real threads: one attends, one listens, and both end when nobody has waited for a while."""
    monkeypatch.setattr(waker, "IDLE", 0.0)
    living, called = Waker(lines), threading.Event()
    living.wait(Waiting(KEY, "1-a"), lambda _: called.set())
    wait_until(lambda: lines.attended, "the ticket to be told", 5.0)
    lines.say(Wake(KEY, "1-a", turn=True, window=2.0))
    assert called.wait(5.0)
    wait_until(lambda: living._listener is None, "the listener to end", 5.0)


def test_a_broken_subscription_is_made_again_and_all_are_told_again(lines, monkeypatch):
    """What was said meanwhile was not heard, and the store may have forgotten who is present."""
    monkeypatch.setattr(waker, "AGAIN", 0.001)
    living, called = Waker(lines), threading.Event()
    living.wait(Waiting(KEY, "1-a"), lambda _: called.set())
    wait_until(lambda: lines.listened and lines.attended, "the first subscription", 5.0)
    before = len(lines.attended)
    with lines.changed:
        lines.broken = True
        lines.changed.notify_all()
    wait_until(lambda: lines.listened > 1, "another subscription", 5.0)
    wait_until(lambda: len(lines.attended) > before, "the ticket to be told again", 5.0)
    lines.say(Wake(KEY, "1-a", turn=True, window=2.0))
    assert called.wait(5.0)


def test_a_forked_child_waits_for_itself_alone(still):
    """A pool process has neither its parent's threads nor its tickets."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)

    def child() -> None:
        assert still.all_forgotten() == []
        assert still._listener is None

    assert in_child(child) == 0
