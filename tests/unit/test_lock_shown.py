"""What a lock shows, and what it refuses to be made of."""

from __future__ import annotations

import pytest

from celery_locks import (
    LockConfigError,
    LockLost,
    LockNotOwned,
)

# What a lock shows


def test_a_lock_shows_what_it_holds(lock):
    """Owner, fence and remaining time of its lease."""
    lock.acquire()
    assert lock.owner == lock.lease.owner
    assert lock.fence == lock.lease.fence > 0
    assert lock.remaining == pytest.approx(10.0)


def test_a_lock_that_was_not_acquired_shows_nothing(lock):
    """None, and no time left."""
    assert (lock.owner, lock.fence, lock.remaining, lock.lease) == (None, None, 0.0, None)


def test_fences_grow(room):
    """Each holder of a key has a higher fence than the last, whether that one released or expired."""
    fences = []
    for number in range(4):
        lock = room.locks.lock("wallet:42", ttl=10.0)
        lock.acquire()
        fences.append(lock.fence)
        lock.release() if number % 2 else room.clock.advance(10.0)
    assert fences == sorted(set(fences))


def test_locked_is_whether_anybody_has_it(lock, room):
    """Also somebody else."""
    assert lock.locked() is False
    room.take()
    assert lock.locked() is True


def test_owned_is_whether_we_have_it(lock, room):
    """Not somebody else, and not before."""
    assert lock.owned() is False
    lock.acquire()
    assert lock.owned() is True
    room.steal()
    assert lock.owned() is False


def test_an_expired_lock_is_not_owned(lock, room):
    """Nor is it locked."""
    lock.acquire()
    room.clock.advance(10.0)
    assert (lock.owned(), lock.locked()) == (False, False)


def test_renew_extends_the_lease(lock, room):
    """By its ttl, or by what is asked."""
    lock.acquire()
    room.clock.advance(8.0)
    lock.renew()
    assert lock.remaining == pytest.approx(10.0)
    lock.renew(60)
    assert lock.remaining == pytest.approx(60.0)


def test_renewing_what_was_not_acquired_is_refused(lock):
    """`LockNotOwned`."""
    with pytest.raises(LockNotOwned, match="cannot be renewed"):
        lock.renew()


def test_renewing_a_lost_lock_raises(lock, room):
    """`LockLost`, and the new holder keeps the key."""
    lock.acquire()
    room.steal()
    with pytest.raises(LockLost):
        lock.renew()


@pytest.mark.parametrize("ttl", [0, -1, "60", float("inf")])
def test_renewing_for_no_time_is_refused(lock, ttl):
    """And the lease is what it was."""
    lock.acquire()
    with pytest.raises(LockConfigError, match="lock 'wallet:42': ttl must be a number of seconds above 0"):
        lock.renew(ttl)
    assert lock.remaining == pytest.approx(10.0)


def test_a_plain_lock_does_not_beat(lock, room):
    """Unless asked."""
    lock.acquire()
    assert room.watched() == []


def test_a_lock_beats_when_asked(room):
    """`heartbeat=True` keeps it at a third of its ttl."""
    lock = room.locks.lock("long", ttl=9.0, heartbeat=True)
    lock.acquire()
    [watched] = room.keeper._watched.values()
    assert (watched.lease, watched.interval) == (lock.lease, 3.0)


def test_a_lock_is_a_sentence(lock):
    """Its repr says what it holds."""
    assert repr(lock) == "<Lock 'wallet:42': not held>"
    lock.acquire()
    assert repr(lock) == f"<Lock 'wallet:42': {lock.lease!r}>"


# Mistakes


@pytest.mark.parametrize("key", ["", None, 7, b"x"], ids=repr)
def test_a_key_must_be_a_text(room, key):
    """No store could keep anything else."""
    with pytest.raises(LockConfigError, match="a lock's key must be a text of at least one character"):
        room.locks.lock(key)


@pytest.mark.parametrize(
    ("keys", "why"), [([], "an empty list"), (["a", ""], "not ''"), (["a", 7], "not 7"), ({"a", "b"}, "must be a text")]
)
def test_several_keys_are_a_list_of_texts(room, keys, why):
    """What is no list, an empty one, and a member that is no key are refused."""
    with pytest.raises(LockConfigError, match=why):
        room.locks.lock(keys)


@pytest.mark.parametrize("ttl", [0, -1, "30", None, float("nan")], ids=repr)
def test_a_ttl_must_be_a_time(room, ttl):
    """The error names the lock."""
    with pytest.raises(LockConfigError, match="lock 'wallet:42': ttl must be a number of seconds above 0"):
        room.locks.lock("wallet:42", ttl=ttl)


@pytest.mark.parametrize("heartbeat", ["yes", "no", 1, None, 5.0], ids=repr)
def test_a_heartbeat_is_yes_or_no(room, heartbeat):
    """It is no interval, and "no" does not mean yes."""
    with pytest.raises(LockConfigError, match="lock 'wallet:42': heartbeat must be True or False, not"):
        room.locks.lock("wallet:42", heartbeat=heartbeat)
    with pytest.raises(LockConfigError, match="lock 'wallet:42': heartbeat must be True or False, not"):
        room.locks.run("wallet:42", int, heartbeat=heartbeat)


def test_a_heartbeat_that_cannot_beat_is_refused(room):
    """A ttl too short to be kept alive."""
    with pytest.raises(LockConfigError, match=r"lock 'wallet:42': a heartbeat cannot keep a ttl of 0.1 s"):
        room.locks.lock("wallet:42", ttl=0.1, heartbeat=True)
