"""Leases that another process keeps are watched here once they have lasted for a while, and not before."""

from __future__ import annotations

import math
import threading
import time

import pytest

from celery_locks.coming import PART, Coming
from celery_locks.keeper import Keeper
from celery_locks.lease import Claim, Lease
from celery_locks.rounds import Rounds
from celery_locks.stores.memory import MemoryStore
from celery_locks.ward import Given, Ward
from tests.waiting import wait_until


def given(owner: str = "anna", ttl: float = 40.0, store: MemoryStore | None = None) -> Given:
    lease = (store or MemoryStore()).acquire(Claim(owner, owner, ttl))
    assert isinstance(lease, Lease)
    return Given(lease, ttl / 3, None, Ward())


def test_what_is_over_before_anybody_looks_is_never_seen():
    """Most jobs are."""
    coming = Coming()
    coming.add(given("anna"))
    coming.add(given("ben"))
    assert coming.drop("anna")
    assert [each.lease.owner for each in coming.taken(0.0)] == ["ben"]
    assert not coming.drop("ben")
    assert coming.taken(0.0) == []


def test_as_long_as_jobs_come_it_is_looked_again():
    """So that none of them need wake anybody; when none came, nobody looks."""
    coming = Coming()
    pause = coming.add(given(ttl=40.0))
    assert pause == PART * 40.0
    coming.look_by(100.0, pause)
    assert coming.looks_at(95.0) == 100.0
    coming.taken(100.0)
    assert coming.looks_at(100.0) == 105.0
    coming.add(given("ben"))
    coming.taken(105.0)
    assert coming.looks_at(105.0) == 110.0
    coming.taken(110.0)
    assert coming.looks_at(110.0) is None


def test_a_look_in_between_changes_nothing():
    """The thread that beats looks too, whenever it has something to do."""
    coming = Coming()
    coming.look_by(100.0, coming.add(given()))
    coming.taken(97.0)
    coming.taken(98.0)
    assert coming.looks_at(98.0) == 100.0
    coming.taken(100.0)
    assert coming.looks_at(100.0) == 105.0


def test_a_shorter_ttl_is_looked_at_sooner():
    """And again so often as long as jobs come."""
    coming = Coming()
    coming.look_by(100.0, coming.add(given()))
    coming.look_by(96.0, coming.add(given("ben", ttl=8.0)))
    assert coming.looks_at(95.0) == 96.0
    coming.taken(96.0)
    assert coming.looks_at(96.0) == 97.0


def test_what_came_after_the_look_is_not_slept_over():
    """Nobody expected anything: whoever is about to sleep looks once more."""
    coming = Coming()
    coming.taken(100.0)
    coming.add(given())
    assert coming.looks_at(100.0) == 100.0


def test_a_child_knows_of_none_of_its_parents():
    """It has other leases."""
    coming = Coming()
    coming.look_by(100.0, coming.add(given()))
    coming.clear()
    assert (coming.looks_at(0.0), coming.taken(0.0)) == (None, [])


def test_one_that_lasts_is_renewed_here_when_nobody_else_does():
    """By threads that were not told of it when it began."""
    store, renewed = MemoryStore(), threading.Event()
    renew = store.renew
    store.renew = lambda leases: renewed.set() or renew(leases)
    keeper = Keeper(store)
    keeper.watch_later(given(ttl=1.0, store=store))
    assert keeper._watched == {}
    assert renewed.wait(10.0)


def test_one_after_the_other_wakes_nobody(monkeypatch: pytest.MonkeyPatch):
    """A thread that is to look in time anyway is left alone."""
    store = MemoryStore()
    keeper = Keeper(store)
    keeper.watch_later(given(store=store))
    wait_until(
        lambda: 1.0 < keeper._ends.wakes_at - time.monotonic() <= PART * 40.0, "the thread to look again in time"
    )
    monkeypatch.setattr(keeper._ends, "expect", lambda _: pytest.fail("it was woken"))
    for number in range(100):
        lease = given(str(number), store=store)
        keeper.watch_later(lease)
        keeper.forget(lease.lease)


@pytest.mark.parametrize("state", ["makes up its mind", "sleeps for longer", "is gone"])
def test_one_that_might_be_slept_over_wakes_it(monkeypatch: pytest.MonkeyPatch, state: str):
    """What a thread has not seen yet, or would see too late, it is told."""
    keeper, told = Keeper(MemoryStore()), []
    monkeypatch.setattr(keeper._ends, "expect", told.append)
    times = {"makes up its mind": math.inf, "sleeps for longer": time.monotonic() + 30.0, "is gone": 0.0}
    keeper._ends.wakes_at = times[state]
    each = given()
    keeper.watch_later(each)
    assert told == [pytest.approx(each.lease.deadline - 40.0 + PART * 40.0)]


def test_a_thread_says_when_it_makes_up_its_mind():
    """What is added then may not have been there when it looked: whoever adds it finds no time that suits."""
    found = []

    def due() -> float | None:
        found.append(rounds.wakes_at)
        return None

    rounds = Rounds("test", threading.Lock(), lambda: None, due)
    with rounds._mutex:
        rounds.expect(0.0)
    wait_until(lambda: found, "it to look")
    assert found[0] == math.inf


def test_a_renewal_by_hand_is_of_what_is_watched_from_then_on():
    """Its beats follow from its new ttl."""
    store = MemoryStore()
    keeper = Keeper(store)
    each = given(store=store)
    keeper.watch_later(each)
    keeper.renew(each.lease, 90.0)
    assert [watched.interval for watched in keeper._watched.values()] == [pytest.approx(30.0)]
    keeper.forget(each.lease)
    assert keeper._watched == {}
