"""The flow of locked work: taking the key, waiting for it, and being interrupted."""

from __future__ import annotations

import pytest

from celery_locks import current_lease, signals
from celery_locks.lease import Busy, Lease
from celery_locks.patience import pauses
from tests.unit.fakes import START, Room, refuse

# Taking the key


def test_a_free_key_is_taken(room: Room):
    """The work runs while its owner has the key, and its result is the result."""
    claim = room.claim()
    assert room.guard.run(claim, lambda _: room.holder(), refuse) == claim.owner


def test_the_key_is_free_after_the_work(room: Room):
    """The work done, the key is given back."""
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() is None


def test_the_work_has_its_lease(room: Room):
    """The lease is handed to the work and is the current one."""
    lease = room.guard.run(room.claim(), lambda lease: (lease, current_lease()), refuse)
    assert lease[0] is lease[1]


def test_uncontended_work_costs_two_round_trips(room: Room):
    """One to take the key, one to give it back, nothing else."""
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert [verb for verb, _ in room.store.calls] == ["acquire", "release"]


def test_work_that_fails_gives_the_key_back(room: Room):
    """The error is the work's, and the key is free."""
    with pytest.raises(ZeroDivisionError):
        room.guard.run(room.claim(), lambda _: 1 / 0, refuse)
    assert room.holder() is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_work_that_is_ended_gives_the_key_back(room: Room, kind):
    """Also what is no `Exception` leaves no key behind."""

    def job(_lease):
        raise kind

    with pytest.raises(kind):
        room.guard.run(room.claim(), job, refuse)
    assert room.holder() is None


def test_a_taken_key_is_an_answer(room: Room):
    """Contention goes to `otherwise`, with the holder and the time its lease has left, and the work does not run."""
    room.take(owner="somebody", ttl=20.0)
    ran = []
    assert room.guard.run(room.claim(), ran.append, refuse) == Busy("somebody", 20.0)
    assert ran == []


def test_a_refused_claim_leaves_the_holder_alone(room: Room):
    """Who was refused releases nothing."""
    room.take(owner="somebody")
    room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() == "somebody"
    assert room.store.called("release") == []


# Waiting


def test_no_wait_is_one_look(room: Room):
    """With `wait=0` a taken key is looked at once, and nothing sleeps."""
    room.take()
    room.guard.enter(room.claim(), wait=0.0)
    assert len(room.store.called("acquire")) == 1
    assert room.clock.slept == []


def test_a_key_freed_meanwhile_is_taken(room: Room):
    """Who waits gets the key soon after it is free."""
    holder = room.take()
    room.clock.later(1.0, lambda: room.free(holder))
    lease = room.guard.enter(room.claim(), wait=5.0)
    assert isinstance(lease, Lease)
    assert room.clock.now - START == pytest.approx(1.0, abs=0.25)


def test_a_wait_is_bounded(room: Room):
    """A key that stays taken is given up exactly when the wait is over, not after the next pause."""
    room.take(ttl=1000.0)
    assert isinstance(room.guard.enter(room.claim(), wait=5.0), Busy)
    assert room.clock.now - START == pytest.approx(5.0)


def test_the_last_look_is_at_the_end_of_the_wait(room: Room):
    """A key freed in the very last moment is taken."""
    holder = room.take(ttl=1000.0)
    room.clock.later(5.0, lambda: room.free(holder))
    assert isinstance(room.guard.enter(room.claim(), wait=5.0), Lease)


def test_none_waits_for_ever(room: Room):
    """`wait=None` outlasts any holder."""
    holder = room.take(ttl=10_000.0)
    room.clock.later(300.0, lambda: room.free(holder))
    assert isinstance(room.guard.enter(room.claim(), wait=None), Lease)


@pytest.mark.parametrize("ttl", [0.1, 2.9, 3.0, 3.1])
def test_a_waiter_takes_an_expired_key_at_once(room: Room, ttl):
    """It sleeps no longer than the holder's lease lasts, whatever its own ttl is."""
    room.take(ttl=ttl)
    assert isinstance(room.guard.enter(room.claim(ttl=300.0), wait=5.0), Lease)
    assert room.clock.now - START == pytest.approx(ttl, abs=0.002)


def test_a_waiter_does_not_spin(room: Room):
    """Ten minutes of waiting ask the store a few times a second, not more."""
    room.take(ttl=10_000.0)
    room.guard.enter(room.claim(), wait=600.0)
    assert len(room.store.called("acquire")) < 600 * 8


def test_a_waiter_does_not_spin_at_the_end_of_a_lease(room: Room):
    """A store that says the lease has no time left is still not asked in a tight loop."""
    room.take(ttl=10_000.0)
    room.store.memory.acquire = lambda _: Busy("somebody", 0.0)
    room.guard.enter(room.claim(), wait=1.0)
    assert min(room.clock.slept[:-1]) >= 0.001


def test_pauses_grow_to_a_bound_and_differ():
    """From milliseconds to a quarter of a second, each shortened by chance."""
    found = [pause for _, pause in zip(range(40), pauses(), strict=False)]
    assert 0.0025 <= found[0] <= 0.0051
    assert all(0.12 <= pause <= 0.251 for pause in found[20:])
    assert len(set(found[20:])) > 5


def test_all_looks_of_one_claim_have_one_owner(room: Room):
    """A waiter asks again under its own name, so that a lost answer is found."""
    holder = room.take()
    room.clock.later(1.0, lambda: room.free(holder))
    claim = room.claim()
    room.guard.enter(claim, wait=5.0)
    assert set(room.store.called("acquire")) == {claim}


# Interruptions


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_acquire_leaves_no_key(room: Room, kind):
    """A soft time limit or Ctrl-C while the answer was on its way: the key that may have been taken is given back."""
    room.store.fail("acquire", kind(), done=True)
    with pytest.raises(kind):
        room.guard.run(room.claim(), lambda _: None, refuse)
    assert room.holder() is None


def test_an_interrupted_wait_leaves_no_key(room: Room):
    """Interrupted between two looks nothing is held."""
    holder = room.take()

    def interrupt():
        room.free(holder)
        raise KeyboardInterrupt

    room.clock.later(1.0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        room.guard.run(room.claim(), lambda _: None, refuse, wait=5.0)
    assert room.holder() is None


def run_interrupted(room: Room, **options: float) -> None:
    """Between the answer, which was a lease, and the work."""

    def interrupt(_event):
        raise KeyboardInterrupt

    signals.acquired.connect(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            room.guard.run(room.claim(), lambda _: None, refuse, **options)
    finally:
        signals.acquired.disconnect(interrupt)


def test_interrupted_after_taking_the_key_it_is_freed(room: Room):
    """Also between the answer and the work nothing is left behind."""
    run_interrupted(room)
    assert room.holder() is None


def test_interrupted_after_taking_the_key_it_is_watched_no_more(room: Room):
    """A lease that was given up is not kept, and its being gone is not reported as a loss."""
    run_interrupted(room, beat=10.0)
    assert room.watched() == []


def test_an_interruption_is_seen_also_when_the_store_is_down(room: Room):
    """What cannot be given back does not hide why the work was ended."""
    room.store.fail("acquire", KeyboardInterrupt())
    room.store.fail("release")
    with pytest.raises(KeyboardInterrupt):
        room.guard.run(room.claim(), lambda _: None, refuse)
