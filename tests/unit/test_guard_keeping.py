"""The flow of locked work: keeping the key, giving it back, and what is said."""

from __future__ import annotations

import pytest

from celery_locks import LockLost, StoreUnavailable, events, signals
from celery_locks.lease import Claim
from tests.unit.fakes import Room, heard, refuse

# Keeping


def test_a_lease_with_a_beat_is_kept(room: Room):
    """While the work runs its lease is watched, and afterwards it is not."""
    during = room.guard.run(room.claim(), lambda _: len(room.watched()), refuse, beat=10.0)
    assert (during, room.watched()) == (1, [])


def test_a_lease_without_a_beat_is_not_kept(room: Room):
    """`heartbeat=False` costs nothing."""
    assert room.guard.run(room.claim(), lambda _: room.watched(), refuse) == []


def test_the_end_of_a_lease_without_a_beat_is_watched(room: Room):
    """Its job is told when its ttl is over, and nothing renews it before."""
    lost, told = [], []

    def work(lease):
        for _ in range(10):
            room.clock.advance(3.1)
            room.keeper.tick()
            lost.append(lease.is_over)

    with pytest.raises(LockLost, match="its ttl ran out"):
        room.guard.run(room.claim(ttl=30.0), work, refuse, on_lost=told.append)
    assert lost == [False] * 9 + [True]
    assert len(told) == 1
    assert room.store.called("renew") == []


def test_a_lease_without_a_beat_is_watched_for_as_long_as_it_was_renewed(room: Room):
    """`lease.renew(60)` moves the end that is watched, and brings no beat."""
    lease = room.guard.enter(room.claim(ttl=10.0), on_lost=print)
    lease.renew(60.0)
    for _ in range(59):
        room.clock.advance(1.0)
        room.keeper.tick()
        assert lease.held()
    room.clock.advance(1.0)
    room.keeper.tick()
    assert lease.is_over
    assert len(room.store.called("renew")) == 1


def test_a_lock_in_a_connection_is_always_kept(room: Room, monkeypatch):
    """Where the connection is the lock, somebody must notice that it broke."""
    monkeypatch.setattr(type(room.store), "in_connection", True)
    assert len(room.guard.run(room.claim(), lambda _: room.watched(), refuse)) == 1


def test_renewing_extends_the_lease(room: Room):
    """`lease.renew()` gives a full ttl again, here and in the store."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.clock.advance(8.0)
    lease.renew()
    assert lease.remaining == pytest.approx(10.0)
    assert room.store.memory.inspect("wallet:42").remaining == pytest.approx(10.0)


def test_renewing_with_a_ttl_extends_by_it(room: Room):
    """`lease.renew(60)` lasts 60 seconds from now."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    lease.renew(60.0)
    assert lease.remaining == pytest.approx(60.0)
    assert room.store.memory.inspect("wallet:42").remaining == pytest.approx(60.0)


def test_a_renewal_is_counted_from_before_its_request(room: Room):
    """A slow answer does not make the lease longer than the store's."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.store.delay("renew", 3.0)
    lease.renew()
    assert lease.remaining == pytest.approx(7.0)


def test_a_renewal_of_a_lease_that_is_lost_meanwhile(room: Room, monkeypatch):
    """Its keeper has found it lost and told its job: a later answer of the store does not say all is well."""
    lease = room.guard.enter(room.claim())
    renew = room.store.renew
    monkeypatch.setattr(room.store, "renew", lambda leases: leases[0].lose("its ttl ran out") and renew(leases))
    with pytest.raises(LockLost, match="its ttl ran out"):
        lease.renew(60.0)


def test_a_kept_lease_renewed_for_less_is_still_kept(room: Room):
    """After `renew(3)` the next beat comes within three seconds."""
    lease = room.guard.enter(room.claim(ttl=30.0), beat=10.0)
    lease.renew(3.0)
    [watched] = room.keeper._watched.values()
    assert watched.due < lease.deadline


def test_renewing_a_stolen_lease_raises(room: Room):
    """It is not ours any more: `LockLost`, reported once, and nobody keeps it."""
    lease = room.guard.enter(room.claim(), beat=10.0)
    room.steal()
    with heard(signals.lost) as said, pytest.raises(LockLost):
        lease.renew()
    assert len(said) == 1
    assert room.watched() == []


def test_renewing_an_expired_lease_raises(room: Room):
    """What is over is over, also when nobody took the key since."""
    lease = room.guard.enter(room.claim(ttl=10.0))
    room.clock.advance(10.0)
    with pytest.raises(LockLost):
        lease.renew()
    assert room.store.called("renew") == []


def test_a_renewal_without_answer_loses_nothing(room: Room):
    """An outage is raised, and the lease is what it was."""
    lease = room.guard.enter(room.claim())
    room.store.fail("renew")
    with pytest.raises(StoreUnavailable):
        lease.renew()
    assert lease.held()


# Giving back


def test_giving_back_twice_is_once(room: Room):
    """The second time nothing is asked of the store."""
    lease = room.guard.enter(room.claim())
    assert room.guard.leave(lease) is True
    assert room.guard.leave(lease) is True
    assert len(room.store.called("release")) == 1


def test_a_lease_is_kept_by_its_owner_while_the_store_is_down(room: Room):
    """A release without answer can be tried again."""
    lease = room.guard.enter(room.claim())
    room.store.fail("release")
    with pytest.raises(StoreUnavailable):
        room.guard.leave(lease)
    assert room.guard.leave(lease) is True
    assert room.holder() is None


def test_giving_back_what_is_not_ours_is_refused(room: Room):
    """A former owner gets False, and the new one keeps the key."""
    lease = room.guard.enter(room.claim())
    room.steal()
    assert room.guard.leave(lease) is False
    assert room.holder() == "thief"


# What is said


def test_taking_and_giving_back_is_said(room: Room):
    """With fence, job, time waited and time held."""
    holder = room.take(ttl=1000.0)
    room.clock.later(2.0, lambda: room.free(holder))
    claim = Claim("wallet:42", "me", 30.0, "bank.withdraw", "7")
    with heard(signals.acquired, signals.released) as said:
        fence = room.guard.run(claim, lambda lease: room.clock.advance(5.0) or lease.fence, refuse, wait=10.0)
    acquired, released = said
    assert acquired == events.Acquired("wallet:42", "me", fence, acquired.waited, task="bank.withdraw", task_id="7")
    assert acquired.waited == pytest.approx(2.0, abs=0.26)
    assert released == events.Released("wallet:42", "me", fence, released.held, task="bank.withdraw", task_id="7")
    assert released.held == pytest.approx(5.0)


def test_a_contention_is_said_once(room: Room):
    """After the wait, with the holder and how long it was waited."""
    room.take(owner="somebody", ttl=1000.0)
    with heard(signals.contended) as said:
        room.guard.enter(Claim("wallet:42", "me", 30.0), wait=5.0)
    [event] = said
    assert (event.key, event.owner, event.holder, event.place) == ("wallet:42", "me", "somebody", None)
    assert event.waited == pytest.approx(5.0)
    assert event.remaining == pytest.approx(995.0)


def test_a_failing_receiver_harms_no_work(room: Room):
    """Whatever a receiver raises, the work runs and the key is given back."""

    def fail(_event):
        raise ZeroDivisionError

    for signal in (signals.acquired, signals.released):
        signal.connect(fail)
    try:
        assert room.guard.run(room.claim(), lambda _: "done", refuse) == "done"
    finally:
        for signal in (signals.acquired, signals.released):
            signal.disconnect(fail)
    assert room.holder() is None
