"""The waker: tells the store who is present, and calls each when its turn comes."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from celery_locks import StoreUnavailable, hearing, roll, waker, wanted
from celery_locks.lease import Busy
from celery_locks.stores.base import Look, Waiting, Wake
from celery_locks.waker import Waker
from tests.unit.fake_lines import FakeLines
from tests.unit.fakes import FakeClock, in_child
from tests.waiting import wait_until

KEY, OTHER = "wallet:42", "wallet:43"


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
    monkeypatch.setattr(roll, "OFTEN", 60.0)
    monkeypatch.setattr(hearing, "AGAIN", 0.0)
    made = Waker(lines, clock)
    made._rounds.thread = made._hearing.thread = threading.current_thread()
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


def test_a_line_is_looked_at_often(still, lines, clock, monkeypatch):
    """Somebody else may have been called, at another process alone, and may not come."""
    monkeypatch.setattr(roll, "OFTEN", 1.5)
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    for _ in range(3):
        still._attend()
        clock.advance(1.5)
    assert lines.attended == [[Waiting(KEY, "1-a")], [Waiting(KEY, "")], [Waiting(KEY, "")]]


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
    monkeypatch.setattr(hearing, "IDLE", 0.0)
    living, called = Waker(lines), threading.Event()
    living.wait(Waiting(KEY, "1-a"), lambda _: called.set())
    wait_until(lambda: lines.attended, "the ticket to be told", 30)
    lines.say(Wake(KEY, "1-a", turn=True, window=2.0))
    assert called.wait(30.0)
    wait_until(lambda: living._hearing.thread is None, "the listener to end", 30)


def test_a_broken_subscription_is_made_again_and_all_are_told_again(lines, monkeypatch):
    """What was said meanwhile was not heard, and the store may have forgotten who is present."""
    monkeypatch.setattr(hearing, "AGAIN", 0.001)
    living, called = Waker(lines), threading.Event()
    living.wait(Waiting(KEY, "1-a"), lambda _: called.set())
    wait_until(lambda: lines.listened and lines.attended, "the first subscription", 30)
    before = len(lines.attended)
    with lines.changed:
        lines.broken = True
        lines.changed.notify_all()
    wait_until(lambda: lines.listened > 1, "another subscription", 30)
    wait_until(lambda: len(lines.attended) > before, "the ticket to be told again", 30)
    lines.say(Wake(KEY, "1-a", turn=True, window=2.0))
    assert called.wait(30.0)


def test_a_forked_child_waits_for_itself_alone(still):
    """A pool process has neither its parent's threads nor its tickets."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)

    def child() -> None:
        assert still.all_forgotten() == []
        assert still._hearing.thread is None

    assert in_child(child) == 0


def test_threads_of_a_forked_child_wait_together(still):
    """It begins afresh before they do: were that left to the first who waits, the second could do it over again."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    before = still._roll

    def child() -> None:
        assert still._roll is not before

    assert in_child(child) == 0
    assert still._roll is before


# Those who are told where they stand


DATE = "1700000000000000-"
STANDS = Look(30.0, turn=False, busy=Busy("ann", 30.0, 2, f"{DATE}a"))


@pytest.fixture
def story() -> list:
    return []


@pytest.fixture
def comer(still: Waker, lines: FakeLines, clock: FakeClock, story: list) -> Waker:
    """Somebody has come to a taken key without a date, and wants to know where it stands."""
    lines.looks[Waiting(KEY, "a")] = STANDS
    still.wait(Waiting(KEY, "a"), _writes(story, "called"), _writes(story, "told"))
    clock.advance(waker.TOGETHER)
    return still


def _writes(story, word):
    return lambda what: story.append((word, what))


CALLED, TOLD = ("called", f"{DATE}a"), ("told", STANDS.busy)
GO = Wake(KEY, f"{DATE}a", turn=True, window=2.0)


def test_one_is_told_once_where_it_stands(comer, story, lines, clock):
    """Not again when the store is told again, nor when the key is looked at."""
    comer._attend()
    comer.again(Waiting(KEY, "a"))
    lines.looks[Waiting(KEY, f"{DATE}a")] = STANDS
    comer._attend()
    clock.advance(31.0)
    comer._attend()
    assert len(lines.attended) == 3
    assert story == [TOLD]


def test_a_wake_is_called_with_the_date_it_has_from_its_line(comer, story):
    """That brings it back to its place should the key be taken again."""
    comer._attend()
    comer._woken(GO)
    assert story == [TOLD, CALLED]


def test_whose_turn_it_is_at_once_is_called_and_not_told(comer, story, lines):
    """It does not wait."""
    lines.looks[Waiting(KEY, "a")] = STANDS._replace(turn=True)
    comer._attend()
    assert story == [CALLED]


def test_a_wake_that_comes_before_the_store_was_told_waits_for_that(comer, story):
    """Another worker may have had the same message: it is told where it stands, and then called, once."""
    comer._woken(GO)
    assert story == []
    comer._attend()
    comer._woken(GO)
    assert story == [TOLD, CALLED]


def test_a_wake_that_comes_while_the_store_answers_is_not_lost(comer, story, lines):
    """The listener is another thread, and may be the faster one."""
    lines.meanwhile = lambda: comer._woken(GO)
    comer._attend()
    assert story == [TOLD, CALLED]


def test_a_wake_that_comes_while_it_is_told_calls_afterwards(still, lines, clock, story):
    """What is shown of a job that waits must not be written over what is shown of it when it runs."""

    def tell(busy: Busy) -> None:
        still._woken(GO)
        story.append(("told", busy))

    lines.looks[Waiting(KEY, "a")] = STANDS
    still.wait(Waiting(KEY, "a"), _writes(story, "called"), tell)
    clock.advance(waker.TOGETHER)
    still._attend()
    assert story == [TOLD, CALLED]


def test_one_that_is_forgotten_while_the_store_answers_is_neither_told_nor_called(comer, story, lines):
    """Its time was over, and it has started."""
    lines.meanwhile = lambda: comer.forget("a")
    lines.looks[Waiting(KEY, "a")] = STANDS._replace(turn=True)
    comer._attend()
    comer._woken(GO)
    assert story == []


def test_one_that_is_forgotten_while_it_is_told_is_not_called(still, lines, clock, story):
    """It started, and starts once."""
    lines.looks[Waiting(KEY, "a")] = STANDS
    still.wait(Waiting(KEY, "a"), _writes(story, "called"), lambda _: (still._woken(GO), still.forget("a")))
    clock.advance(waker.TOGETHER)
    still._attend()
    assert story == []


def test_an_outage_delays_what_is_told(comer, story, lines):
    """A wake that was heard meanwhile is kept for when the store has answered."""
    lines.down = True
    comer._attend()
    comer._woken(GO)
    assert story == []
    lines.down = False
    comer._attend()
    assert story == [TOLD, CALLED]


def test_one_that_cannot_be_told_or_called_is_no_harm_to_others(still, lines, clock, story, caplog):
    """Each is called for itself."""

    def fail(_: object) -> None:
        raise OSError("no space left")

    for name in "abc":
        lines.looks[Waiting(KEY, name)] = STANDS._replace(turn=name == "b", busy=Busy("ann", 30.0, 2, f"{DATE}{name}"))
    still.wait(Waiting(KEY, "a"), _writes(story, "called"), fail)
    still.wait(Waiting(KEY, "b"), fail)
    still.wait(Waiting(KEY, "c"), fail)
    clock.advance(waker.TOGETHER)
    still._attend()
    still._woken(Wake(KEY, f"{DATE}c", turn=True, window=2.0))
    still._woken(GO)
    assert story == [CALLED]
    assert len(caplog.records) == 3


def test_those_who_come_together_are_told_together(still, lines, clock):
    """A store is asked once for a crowd at the door; one that need not wait for others takes all along."""
    for name in "abc":
        still.wait(Waiting(KEY, name), lambda _: None, lambda _: None)
        clock.advance(waker.TOGETHER / 4)
        still._attend()
    assert lines.attended == []
    clock.advance(waker.TOGETHER / 4)
    still._attend()
    assert lines.attended == [[Waiting(KEY, name) for name in "abc"]]
    still.wait(Waiting(KEY, "d"), lambda _: None, lambda _: None)
    still.wait(Waiting(KEY, "1-e"), lambda _: None)
    still._attend()
    assert lines.attended[1:] == [[Waiting(KEY, "d"), Waiting(KEY, "1-e")]]


def test_a_first_look_is_made_as_soon_as_it_is_due(still, clock):
    """Not only when somebody comes who has something to tell."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    still._attend()
    assert still._due() == clock() + 30.0
    still.wait(Waiting(KEY, "b"), lambda _: None, lambda _: None)
    assert still._due() == clock() + waker.TOGETHER


# Those who wait on where the store knows them


def test_who_stays_is_not_told_again(still, lines, clock):
    """The store knows, from the claim: the key is only looked at, when its lease is over."""
    still.stay(Waiting(KEY, "1-a"), lambda _: None, 7.0)
    clock.advance(6.9)
    still._attend()
    assert lines.attended == []
    clock.advance(0.2)
    still._attend()
    assert lines.attended == [[Waiting(KEY, "")]]


def test_who_stays_sees_what_called_it(still):
    """It may have brought the key with it."""
    called = []
    have = GO._replace(fence=7, echo=1)
    waiter = still.stay(Waiting(KEY, GO.ticket), called.append, 7.0)
    assert waiter.wake is None
    still._woken(have)
    assert (called, waiter.wake) == ([GO.ticket], have)


def test_a_wake_that_came_before_one_stays_is_not_lost(still):
    """The key was given back between its refusal and its wait."""
    called = []
    ticket = f"{DATE}a"
    still._woken(GO)
    still.stay(Waiting(KEY, ticket), called.append, 7.0)
    assert called == [ticket]
    assert not still._roll.waiters
    still.stay(Waiting(KEY, ticket), called.append, 7.0)
    assert called == [ticket]


def test_a_call_to_be_the_next_is_not_taken_for_a_turn(still):
    """It was said before, and the one that stays is the next already."""
    called = []
    still._woken(GO._replace(turn=False))
    still.stay(Waiting(KEY, GO.ticket), called.append, 7.0)
    assert called == []


def test_not_every_wake_is_remembered(still, monkeypatch):
    """The oldest are forgotten: those who stay look themselves in the end."""
    monkeypatch.setattr(roll, "REMEMBERED", 2)
    called = []
    for name in "abc":
        still._woken(Wake(KEY, f"{DATE}{name}", turn=True, window=2.0))
    for name in "abc":
        still.stay(Waiting(KEY, f"{DATE}{name}"), called.append, 7.0)
    assert called == [f"{DATE}b", f"{DATE}c"]


def test_wakes_before_an_outage_are_not_remembered_after_it(still, lines):
    """The turn was over long before: whoever stays must not take it for its own."""
    called = []
    still._woken(GO)
    still.wait(Waiting(OTHER, "1-b"), lambda _: None)
    lines.broken = True
    with pytest.raises(StoreUnavailable):
        still._hearing._hear_all()
    still.stay(Waiting(KEY, GO.ticket), called.append, 7.0)
    assert called == []


# What is known of keys


def test_a_key_that_was_found_taken_is_wanted_for_a_moment(still, clock):
    """So that those who come to it next wait at the door."""
    assert still.is_calm()
    still.note(KEY)
    assert still.is_wanted(KEY)
    assert not still.is_wanted(OTHER)
    assert not still.is_calm()
    clock.advance(wanted.WANTED)
    assert not still.is_wanted(KEY)


def test_a_key_that_somebody_waits_for_is_wanted(still):
    """As long as it waits."""
    still.wait(Waiting(KEY, "1-a"), lambda _: None)
    assert still.is_wanted(KEY)
    assert not still.is_calm()
    still.forget("1-a")
    assert not still.is_wanted(KEY)
    assert still.is_calm()


def test_what_was_wanted_once_is_not_kept(still, clock):
    """A worker that sees a million keys remembers those of the last moment."""
    for number in range(100):
        still.note(f"wallet:{number}")
        clock.advance(wanted.WANTED / 10)
    assert len(still._wanted._until) <= 11
    clock.advance(wanted.WANTED)
    still.note(KEY)
    assert list(still._wanted._until) == [KEY]


# Whatever happens to the store


def test_again_tells_a_place_with_its_date(comer, lines):
    """A store that has forgotten all gives it its place back, and not the last one."""
    comer._attend()
    assert comer.again(Waiting(KEY, "a"))
    comer._attend()
    assert lines.attended == [[Waiting(KEY, "a")], [Waiting(KEY, f"{DATE}a")]]


def test_again_tells_nothing_of_one_that_waits_no_more(still, lines):
    """It was called, or forgotten."""
    assert not still.again(Waiting(KEY, "a"))
    still._attend()
    assert lines.attended == []


def test_a_store_that_forgot_its_line_is_told_of_all(comer, lines, clock, story):
    """A look at a free key that calls nobody, though some wait here, shows it."""
    comer.wait(Waiting(OTHER, "1-b"), lambda _: None)
    comer._attend()
    lines.looks[Waiting(KEY, "")] = Look(2.0, turn=False, idle=True)
    lines.looks[Waiting(KEY, f"{DATE}a")] = STANDS._replace(turn=True)
    clock.advance(31.0)
    comer._attend()
    comer._attend()
    assert lines.attended[-1] == [Waiting(KEY, f"{DATE}a")]
    assert story == [TOLD, CALLED]


def test_a_waker_hears_while_it_is_subscribed(lines, monkeypatch):
    """Before, after, and in a forked child it does not."""
    monkeypatch.setattr(hearing, "IDLE", 0.0)
    living = Waker(lines)
    assert not living.hears()
    living.wait(Waiting(KEY, "1-a"), lambda _: None)
    wait_until(living.hears, "the subscription", 30)

    def child() -> None:
        assert not living.hears()

    assert in_child(child) == 0
    living.forget("1-a")
    lines.say(GO)
    wait_until(lambda: not living.hears(), "the listener to end", 30)


def test_a_store_that_cannot_be_listened_to_is_asked_ever_more_rarely(lines, monkeypatch):
    """Each pause is twice the last, up to a bound; the first subscription that works ends that."""
    monkeypatch.setattr(hearing, "AGAIN", 0.001)
    monkeypatch.setattr(hearing, "RARELY", 0.004)
    paused = []
    monkeypatch.setattr(
        hearing, "time", SimpleNamespace(sleep=lambda seconds: paused.append(seconds) or time.sleep(seconds))
    )
    lines.deaf = True
    living = Waker(lines)
    living.wait(Waiting(KEY, "1-a"), lambda _: None)
    wait_until(lambda: lines.listened > 5, "some attempts", 30)
    lines.deaf = False
    wait_until(living.hears, "a subscription", 30)
    assert paused[:4] == [0.001, 0.002, 0.004, 0.004]
    before = len(paused)
    with lines.changed:
        lines.broken = True
        lines.changed.notify_all()
    wait_until(lambda: len(paused) > before, "a pause", 30)
    assert paused[before] == 0.001
    living.forget("1-a")


def test_a_child_knows_nothing_of_its_parents_keys(still):
    """What the parent found taken, and the wakes it remembers, are its own."""
    still.note(KEY)
    still._woken(GO)

    def child() -> None:
        assert not still.is_wanted(KEY)
        assert still.is_calm()
        assert not still._early._tickets

    assert in_child(child) == 0


def test_a_part_of_the_store_that_cannot_say_is_asked_again(lines, still):
    """The others are called all the same."""
    called = []
    silent, lucky = Waiting("wallet:1", "a"), Waiting("wallet:2", "b")
    lines.looks = {silent: None, lucky: Look(2.0, turn=True)}
    for each in (silent, lucky):
        still.wait(each, called.append)
    still._attend()
    assert called == ["b"]
    lines.looks[silent] = Look(2.0, turn=True)
    still._attend()
    assert called == ["b", "a"]


def test_a_call_keeps_the_date_of_its_ticket(still):
    """The line knows of one that was away only when it left."""
    called = []
    still.wait(Waiting(KEY, "1700000000000000-a"), called.append)
    still._woken(Wake(KEY, "1700000009999999-a", turn=True, window=2.0))
    assert called == ["1700000000000000-a"]


def test_many_keys_are_looked_at_less_often(still, clock, monkeypatch):
    """Looking stays a small part of the work of a process that waits for ten thousand keys."""
    monkeypatch.setattr(roll, "OFTEN", 1.5)
    monkeypatch.setattr(roll, "MANY", 2)
    for number in range(8):
        still.wait(Waiting(f"wallet:{number}", f"1700000000000000-{number}"), lambda _: None)
    still._attend()
    assert still._due() == clock() + 6.0
