"""A lease: its time, its states, its renewal, and what it shows."""

from __future__ import annotations

import pytest

from celery_locks import LockError, LockLost
from celery_locks.lease import Claim, Lease, State, new_owner
from tests.unit.fakes import START, Room


def test_remaining_counts_down_to_the_deadline(lease, clock):
    """What remains is the time to the deadline."""
    clock.advance(4.0)
    assert lease.remaining == pytest.approx(6.0)


def test_remaining_is_never_negative(lease, clock):
    """An expired lease has 0.0 seconds left, not less."""
    clock.advance(11.0)
    assert lease.remaining == 0.0


def test_a_lease_is_over_at_its_deadline(lease, clock):
    """At the deadline itself it is no longer held: the store may have given the key away."""
    clock.advance(10.0)
    assert not lease.held()


def test_a_lease_is_held_until_its_deadline(lease, clock):
    """Just before the deadline it is still held."""
    clock.advance(9.999)
    assert lease.held()


def test_a_lease_without_ttl_has_no_remaining_time(clock):
    """Where the lock lives in a connection nothing remains to be counted, and it is held."""
    lease = Lease(Claim("wallet:42", "me", 10.0), fence=7, deadline=None, clock=clock)
    clock.advance(1e6)
    assert lease.remaining is None
    assert lease.held()


def test_a_lease_without_ttl_ends_when_lost(clock):
    """A lease of a connection that broke is not held."""
    lease = Lease(Claim("wallet:42", "me", 10.0), fence=7, deadline=None, clock=clock)
    lease.lose("the connection is gone")
    assert lease.remaining == 0.0
    assert not lease.held()


def test_ensure_held_passes_while_held(lease):
    """Nothing is raised for a lease that is held."""
    assert lease.ensure_held() is None


def test_ensure_held_raises_when_expired(lease, clock):
    """An expired lease raises `LockLost` with the key and the reason."""
    clock.advance(10.0)
    with pytest.raises(LockLost, match=r"'wallet:42' is gone: its ttl ran out") as caught:
        lease.ensure_held()
    assert caught.value.key == "wallet:42"


def test_ensure_held_raises_after_release(lease):
    """A released lease says that it was released."""
    lease.state = State.RELEASED
    with pytest.raises(LockLost, match="it was released"):
        lease.ensure_held()


def test_an_unanswered_beat_is_no_loss(lease):
    """Not knowing is not losing: an unknown lease is held until its time is over."""
    lease.doubt()
    assert lease.state is State.UNKNOWN
    assert lease.held()


def test_an_unknown_lease_ends_at_its_deadline(lease, clock):
    """Doubt does not extend a lease."""
    lease.doubt()
    clock.advance(10.0)
    assert not lease.held()


def test_a_later_beat_ends_the_doubt(lease, clock):
    """A renewal after an unanswered beat makes the lease held again, with the new deadline."""
    lease.doubt()
    lease.extend(START + 20.0)
    clock.advance(15.0)
    assert lease.state is State.HELD
    assert lease.remaining == pytest.approx(5.0)


def test_a_loss_is_noted_once(lease):
    """`lose` answers True the first time only, and the first reason stays."""
    assert lease.lose("taken away") is True
    assert lease.lose("expired") is False
    assert lease.reason == "taken away"


def test_a_released_lease_cannot_be_lost(lease):
    """Its being gone after its release is no loss."""
    lease.state = State.RELEASED
    assert lease.lose("expired") is False
    assert lease.state is State.RELEASED


def test_a_released_lease_stays_released(lease):
    """The answer to a beat that was under way while it was released does not bring it back."""
    lease.state = State.RELEASED
    lease.extend(START + 100.0)
    assert lease.state is State.RELEASED
    assert not lease.held()


def test_a_lost_lease_stays_lost(lease):
    """Neither a late renewal nor a doubt brings a lost lease back."""
    lease.lose("taken away")
    lease.extend(START + 100.0)
    lease.doubt()
    assert lease.state is State.LOST
    assert not lease.held()


def test_a_lease_is_renewed_by_who_keeps_it(lease):
    """`renew` hands the lease, with the new ttl, to its keeper."""
    seen = []
    lease.renewer = lambda _, ttl: seen.append(ttl)
    lease.renew(60.0)
    assert seen == [60.0]


def test_renewing_without_ttl_keeps_the_ttl(lease):
    """`renew()` asks for the lease's own ttl again."""
    seen = []
    lease.renewer = lambda _, ttl: seen.append(ttl)
    lease.renew()
    assert seen == [10.0]


def test_a_lease_nobody_keeps_cannot_be_renewed(lease):
    """A lease straight from a store says that nothing keeps it."""
    with pytest.raises(LockError, match="nothing keeps it") as caught:
        lease.renew()
    assert caught.value.key == "wallet:42"


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), "10", True])
def test_a_lease_refuses_a_ttl_that_is_none(room: Room, ttl):
    """A job's own lease checks what it is to be renewed for, as `Lock.renew` does, and stays as it was."""
    lease = room.guard.enter(room.claim())
    with pytest.raises(LockError, match="must be a number of seconds above 0"):
        lease.renew(ttl)
    assert lease.ttl == 30.0


def test_an_unlocked_lease_is_never_held():
    """A job told to run without its store gets a lease that says so, with the lowest fence."""
    lease = Lease.unlocked(Claim("wallet:42", "me", 10.0))
    assert (lease.held(), lease.remaining, lease.fence) == (False, 0.0, 0)
    with pytest.raises(LockLost, match=r"lock_on_outage='run'"):
        lease.ensure_held()


def test_a_lease_shows_key_owner_fence_and_state(lease):
    """Its repr is what a log needs."""
    assert repr(lease) == "<Lease 'wallet:42' of me fence=7 held>"


def test_owners_are_never_given_twice():
    """A thousand owners of one name are a thousand owners."""
    assert len({new_owner("withdraw") for _ in range(1000)}) == 1000


def test_an_owner_says_what_runs():
    """The name of the work is the beginning of its owner's name."""
    assert new_owner("withdraw[7]").startswith("withdraw[7]@")
