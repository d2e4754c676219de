"""A lock around a body, and one that several threads share."""

# ruff: noqa: PT012 - what a body does before it is ended is the test

from __future__ import annotations

import threading

import pytest

from celery_locks import (
    LockError,
    LockLost,
    LockNotOwned,
    Locks,
    StoreUnavailable,
    current_lease,
)
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import START

# with


def test_with_gives_the_lease(lock, room):
    """Inside the body the key is taken, after it free."""
    with lock as lease:
        assert (room.holder(), lease.fence) == (lock.owner, lock.fence)
    assert room.holder() is None


def test_with_waits_for_ever(lock, room):
    """The body of a `with` never runs without the lock."""
    holder = room.take(ttl=10_000.0)
    room.clock.later(300.0, lambda: room.free(holder))
    with lock as lease:
        assert room.holder() == lease.owner
    assert room.clock.now - START >= 300.0


def test_the_body_never_runs_when_the_store_is_down(lock, room):
    """An outage is raised before the body."""
    room.store.fail("acquire")
    ran = []
    with pytest.raises(StoreUnavailable), lock:
        ran.append("body")
    assert ran == []


def test_leaving_a_body_whose_lease_was_lost_raises(lock, room):
    """`LockLost`: the work may not have been alone."""
    with pytest.raises(LockLost), lock:
        room.clock.advance(10.0)


def test_leaving_a_body_whose_key_was_stolen_raises(lock, room):
    """And the thief keeps the key."""
    with pytest.raises(LockLost), lock:
        room.steal()
    assert room.holder() == "thief"


def test_a_body_that_raised_keeps_its_own_error(lock, room):
    """The loss does not hide it."""
    with pytest.raises(ZeroDivisionError), lock:
        room.steal()
        raise ZeroDivisionError


def test_a_release_that_fails_after_the_body_is_no_error(lock, room):
    """The work is done; the ttl ends the lease."""
    room.store.fail("release")
    with lock:
        pass
    assert lock.lease is None


def test_a_body_may_release_early(lock, room):
    """Leaving then has nothing to do."""
    with lock:
        lock.release()
        assert room.holder() is None


def test_a_with_does_not_make_its_lease_the_current_one(lock):
    """`current_lease` is for jobs: a `with` has its own name for its lease."""
    with lock, pytest.raises(LockError):
        current_lease()


def test_threads_that_share_a_lock_release_their_own():
    """A lock object used by two threads: each `with` gives back what it took."""
    locks = Locks(MemoryStore())
    lock = locks.lock("wallet:42", ttl=30.0)
    inside, most = [], []

    def work():
        for _ in range(5):
            with lock as lease:
                inside.append(lease.owner)
                most.append(len(inside))
                inside.remove(lease.owner)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert (len(most), max(most), locks.locked("wallet:42")) == (15, 1, False)


# one lock, several threads


def in_thread(action):
    """Do it in another thread, and give what it raised or returned."""
    results = []

    def run():
        try:
            results.append(action())
        except Exception as error:  # noqa: BLE001 - it is handed on
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30.0)
    return results[0]


def frees_nothing_of_another_thread(lock, room):
    assert in_thread(lock.acquire) is True
    taken = room.holder()
    with pytest.raises(LockNotOwned):
        lock.release()
    assert room.holder() == taken


def test_a_late_release_leaves_another_threads_lease_alone(lock, room):
    """Its own lease ran out and another thread took the key by the same lock: that one keeps it."""
    lock.acquire()
    room.clock.advance(11.0)
    frees_nothing_of_another_thread(lock, room)


def test_a_second_release_leaves_another_threads_lease_alone(lock, room):
    """Released once, a thread has nothing more to release, whatever others have taken since."""
    lock.acquire()
    lock.release()
    frees_nothing_of_another_thread(lock, room)


def test_what_one_thread_took_another_may_release(lock, room):
    """As with `threading.Lock`, as long as the other has taken nothing by this lock itself."""
    lock.acquire()
    assert in_thread(lock.release) is None
    assert room.holder() is None


def test_a_thread_sees_its_own_lease(lock, room):
    """Not the one that another thread took after it had run out."""
    lock.acquire()
    mine = lock.owner
    room.clock.advance(11.0)
    assert in_thread(lambda: (lock.acquire(), lock.owner)[1]) != mine
    assert lock.owner == mine
    assert not lock.owned()
    assert lock.remaining == 0.0


def test_a_release_inside_a_with_is_allowed(lock, room):
    """Leaving the `with` then has nothing more to do."""
    with lock:
        lock.release()
    assert room.holder() is None


def test_a_lock_that_another_thread_released_is_not_ours_any_more(lock):
    """A second release is an error whoever did the first, and the lock shows no owner."""
    lock.acquire()
    in_thread(lock.release)
    with pytest.raises(LockNotOwned):
        lock.release()
    assert (lock.owner, lock.fence) == (None, None)


# a body that begins in one thread and ends in another


def rows(lock):
    with lock:
        yield from range(3)


def test_a_body_that_ends_in_another_thread_frees_its_key(lock, room):
    """As the dependency of a web handler does, whose beginning and end come to any threads of a pool."""
    in_thread(lock.__enter__)
    assert room.holder()
    assert in_thread(lambda: lock.__exit__(None, None, None)) is None
    assert room.holder() is None


def test_a_generator_that_each_row_reads_in_another_thread_frees_its_key(lock, room):
    """To its end, or closed in the middle; and its loss is told there."""
    read = rows(lock)
    assert [in_thread(lambda: next(read)) for _ in range(3)] == [0, 1, 2]
    assert isinstance(in_thread(lambda: next(read)), StopIteration)
    assert room.holder() is None
    read = rows(lock)
    in_thread(lambda: next(read))
    assert in_thread(read.close) is None
    assert room.holder() is None
    read = rows(lock)
    in_thread(lambda: next(read))
    room.steal()
    assert isinstance(in_thread(lambda: [*read]), LockLost)
    assert room.holder() == "thief"


def test_each_thread_ends_its_own_body_first():
    """Of a lock that several hold by one object."""
    locks = Locks(MemoryStore())
    lock = locks.lock("api", slots=2)
    first = in_thread(lock.__enter__)
    with lock as mine:
        assert [holder.owner for holder in locks.holders("api")] == [first.owner, mine.owner]
    assert [holder.owner for holder in locks.holders("api")] == [first.owner]
    lock.__exit__(None, None, None)
    assert not locks.locked("api")
