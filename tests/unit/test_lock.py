"""A lock in plain code: taken and given back."""

from __future__ import annotations

import threading

import pytest

from celery_locks import (
    LockConfigError,
    LockNotOwned,
    StoreUnavailable,
)
from tests.unit.fakes import START

# acquire


def test_a_free_lock_is_acquired(lock, room):
    """True, and the key is taken under the lock's owner."""
    assert lock.acquire() is True
    assert room.holder() == lock.owner


def test_without_blocking_a_taken_lock_is_refused_at_once(lock, room):
    """`acquire(blocking=False)` looks once."""
    room.take()
    assert lock.acquire(blocking=False) is False
    assert room.clock.slept == []


def test_a_timeout_of_zero_is_one_look(lock, room):
    """`timeout=0` does not mean for ever."""
    room.take()
    assert lock.acquire(timeout=0) is False
    assert room.clock.slept == []


def test_a_timeout_shorter_than_a_second_is_kept(lock, room):
    """`timeout=0.5` is half a second: not none, and not for ever."""
    room.take(ttl=1000.0)
    assert lock.acquire(timeout=0.5) is False
    assert room.clock.now - START == pytest.approx(0.5)


def test_a_timeout_waits_for_the_release(lock, room):
    """A lock freed in time is acquired."""
    holder = room.take(ttl=1000.0)
    room.clock.later(3.0, lambda: room.free(holder))
    assert lock.acquire(timeout=5) is True


def test_without_a_timeout_it_waits_for_ever(lock, room):
    """`acquire()` blocks, like `threading.Lock`."""
    holder = room.take(ttl=10_000.0)
    room.clock.later(300.0, lambda: room.free(holder))
    assert lock.acquire() is True


def test_arguments_are_positional_as_in_threading(lock, room):
    """`acquire(True, 0.5)` and `acquire(False)` mean what they mean there."""
    room.take(ttl=1000.0)
    assert lock.acquire(True, 0.5) is False  # noqa: FBT003 - the fact
    assert lock.acquire(False) is False  # noqa: FBT003 - the fact


def test_a_timeout_without_blocking_is_refused(lock):
    """As `threading.Lock` refuses it."""
    with pytest.raises(LockConfigError, match="a timeout makes no sense with blocking=False; leave one out"):
        lock.acquire(blocking=False, timeout=5)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_timeout_that_is_none_is_refused(lock, timeout):
    """A wrong timeout is an error, not for ever."""
    with pytest.raises(LockConfigError, match="lock 'wallet:42': timeout must be a number of seconds, 0 or more"):
        lock.acquire(timeout=timeout)


@pytest.mark.parametrize("timeout", [-1, 1e11], ids=repr)
def test_a_timeout_that_means_for_ever_is_mended(lock, timeout):
    """`threading.Lock` writes it as -1, some as a very long time: here no timeout is for ever."""
    with pytest.raises(LockConfigError, match=r"lock 'wallet:42': timeout must be .*; to wait for ever leave it out"):
        lock.acquire(timeout=timeout)


def test_an_outage_is_an_error(lock, room):
    """Whether the key is taken is not known: neither True nor False."""
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable):
        lock.acquire(timeout=5)


def test_an_interrupted_acquire_leaves_no_key(lock, room):
    """Ctrl-C while the answer was on its way."""
    room.store.fail("acquire", KeyboardInterrupt(), done=True)
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    assert room.holder() is None
    assert not lock.owned()


def test_it_is_not_reentrant(lock):
    """Its own holder waits like everybody else."""
    lock.acquire()
    assert lock.acquire(blocking=False) is False


def test_a_failed_reacquire_keeps_the_held_one(lock, room):
    """A lock that is held and asked for again in vain can still be released."""
    lock.acquire()
    owner = lock.owner
    lock.acquire(timeout=0.1)
    assert lock.owner == owner
    lock.release()
    assert room.holder() is None


def test_a_reacquire_that_meets_an_outage_keeps_the_held_one(lock, room):
    """Nor does an error lose it."""
    lock.acquire()
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable):
        lock.acquire(blocking=False)
    lock.release()
    assert room.holder() is None


def test_two_locks_on_one_key_exclude_each_other(lock, room):
    """Objects are not owners: each acquisition is."""
    other = room.locks.lock("wallet:42")
    lock.acquire()
    assert other.acquire(blocking=False) is False
    lock.release()
    assert other.acquire(blocking=False) is True


def test_locks_on_two_keys_do_not(lock, room):
    """Other keys are free."""
    lock.acquire()
    assert room.locks.lock("wallet:43").acquire(blocking=False) is True


# release


def test_a_released_lock_is_free(lock, room):
    """And knows it."""
    lock.acquire()
    lock.release()
    assert room.holder() is None
    assert (lock.owner, lock.fence, lock.remaining, lock.lease) == (None, None, 0.0, None)


def test_releasing_what_was_not_acquired_is_refused(lock, room):
    """`LockNotOwned`, and the holder keeps the key."""
    room.take(owner="somebody")
    with pytest.raises(LockNotOwned, match="this lock does not hold it"):
        lock.release()
    assert room.holder() == "somebody"


def test_releasing_twice_is_refused(lock):
    """The second time it is not ours."""
    lock.acquire()
    lock.release()
    with pytest.raises(LockNotOwned):
        lock.release()


def test_releasing_a_stolen_lock_is_refused(lock, room):
    """The thief keeps it, and is named."""
    lock.acquire()
    room.steal()
    with pytest.raises(LockNotOwned, match="thief has it"):
        lock.release()
    assert room.holder() == "thief"
    assert lock.lease is None


def test_releasing_an_expired_lock_is_refused(lock, room):
    """It was not ours any more, and the mend is named."""
    lock.acquire()
    room.clock.advance(10.0)
    with pytest.raises(LockNotOwned, match="its lease ran out: use a longer ttl or heartbeat=True"):
        lock.release()


def test_a_release_without_answer_can_be_tried_again(lock, room):
    """The owner is not forgotten before the store has answered."""
    lock.acquire()
    owner = lock.owner
    room.store.fail("release")
    with pytest.raises(StoreUnavailable):
        lock.release()
    assert lock.owner == owner
    lock.release()
    assert room.holder() is None


def test_not_owned_is_said_also_when_the_holder_cannot_be_asked(lock, room):
    """The second question may fail; the first answer stands."""
    lock.acquire()
    room.steal()
    room.store.fail("inspect")
    with pytest.raises(LockNotOwned):
        lock.release()


def test_a_lock_may_be_released_by_another_thread(lock, room):
    """As `threading.Lock` may."""
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert room.holder() is None
