"""Locks for plain code: `Locks` and `Lock`."""

# ruff: noqa: PT012 - what a body does before it is ended is the test

from __future__ import annotations

import threading

import pytest

from celery_locks import (
    Lock,
    LockConfigError,
    LockError,
    LockLost,
    LockNotOwned,
    Locks,
    LockTimeout,
    StoreUnavailable,
    current_lease,
    signals,
)
from celery_locks.lease import Holding
from celery_locks.stores import Store
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import START, Room, heard


@pytest.fixture
def lock(room: Room) -> Lock:
    return room.locks.lock("wallet:42", ttl=10.0)


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


def test_several_keys_are_refused(room):
    """One key a lock in this version, and it says so."""
    with pytest.raises(LockConfigError, match=r"several keys in one lock, \['a', 'b'\], are not supported"):
        room.locks.lock(["a", "b"])


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


# Locks


def test_run_gives_the_jobs_result(room):
    """The job runs with the key taken, and its result is the result."""
    assert room.locks.run("wallet:42", lambda: room.holder() is not None) is True
    assert room.holder() is None


def test_run_makes_its_lease_the_current_one(room):
    """The job finds its fence."""
    assert room.locks.run("wallet:42", lambda: current_lease().fence) > 0


def test_run_raises_at_once_when_taken(room):
    """Without `wait` a taken key is a `LockTimeout`."""
    room.take(owner="somebody")
    with pytest.raises(LockTimeout, match="'wallet:42' is held by somebody: try later"):
        room.locks.run("wallet:42", int)
    assert room.clock.slept == []


def test_run_waits_as_long_as_asked(room):
    """Then it raises, and says how long it waited."""
    room.take(ttl=1000.0)
    with pytest.raises(LockTimeout, match="is held by somebody after 30 s"):
        room.locks.run("wallet:42", int, wait=30)
    assert room.clock.now - START == pytest.approx(30.0)


@pytest.mark.parametrize("busy", ["Processing", None, False, 0])
def test_run_gives_what_stands_for_busy(room, busy):
    """Whatever was named, None among them, instead of an error."""
    room.take()
    assert room.locks.run("wallet:42", lambda: "ran", busy=busy) is busy


def test_run_does_not_take_an_outage_for_busy(room):
    """Not knowing is no contention: an error, also where `busy` was named."""
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable):
        room.locks.run("wallet:42", int, busy="Processing")


def test_run_raises_what_the_job_raises(room):
    """And gives the key back."""
    with pytest.raises(ZeroDivisionError):
        room.locks.run("wallet:42", lambda: 1 / 0)
    assert room.holder() is None


def test_run_raises_when_its_lease_was_lost(room):
    """The work is done, but perhaps not alone."""
    with pytest.raises(LockLost):
        room.locks.run("wallet:42", lambda: room.clock.advance(40.0), ttl=30)


def test_run_beats_when_asked(room):
    """A long job keeps its key."""
    assert len(room.locks.run("wallet:42", room.watched, ttl=9, heartbeat=True)) == 1
    assert room.locks.run("wallet:42", room.watched) == []


@pytest.mark.parametrize("wait", [-1, None, "5", float("nan")], ids=repr)
def test_run_refuses_a_wait_that_is_none(room, wait):
    """A wrong wait is an error, not for ever."""
    with pytest.raises(LockConfigError, match="lock 'wallet:42': wait must be a number of seconds, 0 or more"):
        room.locks.run("wallet:42", int, wait=wait)


@pytest.mark.parametrize("job", [None, 7, "job"], ids=repr)
def test_run_refuses_what_cannot_be_called(room, job):
    """Before the key is taken: most likely the job was called, and this is its result."""
    with pytest.raises(
        LockConfigError, match=r"lock 'wallet:42': the job must be a callable, not of type .*: write job"
    ):
        room.locks.run("wallet:42", job)
    assert room.holder() is None


def test_the_holder_is_shown(room):
    """Owner, fence and remaining time; None for a free key."""
    room.take(owner="somebody", ttl=20.0)
    holding = room.locks.holder("wallet:42")
    assert holding == Holding("wallet:42", "somebody", holding.fence, 20.0)
    assert room.locks.locked("wallet:42") is True
    assert room.locks.holder("wallet:43") is None
    assert room.locks.locked("wallet:43") is False


def test_all_holders_are_listed(room):
    """Sorted, those that match, none that expired."""
    for key in ("wallet:2", "wallet:1", "report:1"):
        room.take(key)
    room.take("wallet:0", ttl=1.0)
    room.clock.advance(2.0)
    assert [holding.key for holding in room.locks.list("wallet:*")] == ["wallet:1", "wallet:2"]
    assert [holding.key for holding in room.locks.list()] == ["report:1", "wallet:1", "wallet:2"]


@pytest.mark.parametrize("pattern", [3, None, b"*", ["wallet:*"]], ids=repr)
def test_a_pattern_must_be_a_text(room, pattern):
    """One line, with an example of one."""
    with pytest.raises(LockConfigError, match=r"the pattern must be a text such as 'wallet:\*', not"):
        room.locks.list(pattern)


def test_a_key_is_freed_by_force(room):
    """Whoever has it; False when it was free."""
    room.take(owner="somebody")
    assert room.locks.force_release("wallet:42") is True
    assert room.holder() is None
    assert room.locks.force_release("wallet:42") is False


def test_force_frees_nothing_without_a_key(room):
    """An empty key is a mistake, not everything."""
    with pytest.raises(LockConfigError):
        room.locks.force_release("")


def test_a_lock_acquired_elsewhere_is_taken_up(lock, room):
    """With its owner's name another process releases it: same fence, same time left."""
    lock.acquire()
    room.clock.advance(4.0)
    restored = room.locks.restore("wallet:42", lock.owner)
    assert (restored.owner, restored.fence) == (lock.owner, lock.fence)
    assert restored.remaining == pytest.approx(6.0)
    assert restored.owned()
    restored.release()
    assert room.holder() is None


def test_a_restored_lease_is_counted_from_before_the_answer(lock, room, monkeypatch):
    """An answer that took 2 s on its way was true 2 s ago: the restored lock claims no time it may not have."""
    lock.acquire()
    inspect = room.store.inspect

    def slowly(key):
        holding = inspect(key)
        room.clock.advance(2.0)
        return holding

    monkeypatch.setattr(room.store, "inspect", slowly)
    assert room.locks.restore("wallet:42", lock.owner).remaining == pytest.approx(8.0)


def test_a_restored_lock_can_be_renewed(lock, room):
    """It is a lock like others."""
    lock.acquire()
    restored = room.locks.restore("wallet:42", lock.owner)
    restored.renew(60)
    assert room.locks.holder("wallet:42").remaining == pytest.approx(60.0)


def test_a_lock_of_another_owner_is_not_taken_up(room):
    """`LockNotOwned` names who has it."""
    room.take(owner="somebody")
    with pytest.raises(LockNotOwned, match="cannot be taken up: somebody has it") as caught:
        room.locks.restore("wallet:42", "me")
    assert caught.value.holder == "somebody"


def test_a_free_lock_is_not_taken_up(room):
    """It expired meanwhile, or never was."""
    with pytest.raises(LockNotOwned):
        room.locks.restore("wallet:42", "me")


def test_a_lock_in_a_connection_is_not_taken_up(lock, room, monkeypatch):
    """It cannot be handed on."""
    lock.acquire()
    monkeypatch.setattr(type(room.store), "in_connection", True)
    with pytest.raises(LockConfigError, match="lives in its connection: it cannot be taken up elsewhere"):
        room.locks.restore("wallet:42", lock.owner)


class Blind(Store):
    """A store that can show nothing."""

    def __init__(self, clock) -> None:
        super().__init__(clock=clock)
        self._memory = MemoryStore(clock=clock)
        self.acquire, self.renew, self.release = self._memory.acquire, self._memory.renew, self._memory.release

    def acquire(self, claim): ...
    def renew(self, leases): ...
    def release(self, claim): ...


@pytest.mark.parametrize(
    "ask",
    [
        lambda locks: locks.holder("a"),
        lambda locks: locks.locked("a"),
        lambda locks: locks.list(),
        lambda locks: locks.force_release("a"),
        lambda locks: locks.restore("a", "me"),
        lambda locks: locks.lock("a").locked(),
    ],
    ids=["holder", "locked", "list", "force_release", "restore", "Lock.locked"],
)
def test_a_store_that_cannot_show_says_so(clock, ask):
    """A capability a store lacks is an error that names the store."""
    with pytest.raises(LockConfigError, match="Blind cannot show or force what it holds"):
        ask(Locks(Blind(clock)))


def test_a_store_that_cannot_show_still_locks(clock):
    """Acquiring, and a release that is refused, need no showing."""
    lock = Locks(Blind(clock)).lock("a", ttl=10.0)
    assert lock.acquire() is True
    clock.advance(10.0)
    with pytest.raises(LockNotOwned):
        lock.release()


def test_locks_are_made_from_a_url():
    """The prefix goes to the store."""
    assert Locks("memory://", prefix="bank:").store.prefix == "bank:"


def test_the_same_memory_is_the_same_locks():
    """`memory://name` is shared in this process, another name is not."""
    lock = Locks("memory://shared-by-this-test").lock("a")
    lock.acquire()
    assert Locks("memory://shared-by-this-test").locked("a") is True
    assert Locks("memory://another-of-this-test").locked("a") is False
    lock.release()


def test_prefixes_keep_locks_apart():
    """Two apps on one store with prefixes of their own do not meet."""
    store_url = "memory://prefixes-of-this-test"
    lock = Locks(store_url, prefix="one:").lock("a")
    lock.acquire()
    assert Locks(store_url, prefix="two:").lock("a").acquire(blocking=False) is True
    assert [holding.key for holding in Locks(store_url, prefix="one:").list()] == ["a"]


def test_a_plain_lock_has_no_job(lock):
    """Its events name no task."""
    with heard(signals.acquired) as said:
        lock.acquire()
    assert [(event.task, event.task_id) for event in said] == [(None, None)]


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
    thread.join(5.0)
    return results[0]


def test_a_late_release_leaves_another_threads_lease_alone(lock, room):
    """Its own lease ran out and another thread took the key by the same lock: that one keeps it."""
    lock.acquire()
    room.clock.advance(11.0)
    assert in_thread(lock.acquire) is True
    taken = room.holder()
    with pytest.raises(LockNotOwned):
        lock.release()
    assert room.holder() == taken


def test_a_second_release_leaves_another_threads_lease_alone(lock, room):
    """Released once, a thread has nothing more to release, whatever others have taken since."""
    lock.acquire()
    lock.release()
    in_thread(lock.acquire)
    taken = room.holder()
    with pytest.raises(LockNotOwned):
        lock.release()
    assert room.holder() == taken


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


@pytest.mark.parametrize("given", [{"prefix": "bank:"}, {"claim_window": 1}])
def test_a_store_that_is_made_already_takes_no_settings(given):
    """What would be passed over in silence is refused."""
    with pytest.raises(LockConfigError, match="made already"):
        Locks(MemoryStore(), **given)


@pytest.mark.parametrize("prefix", [None, 5, b"x"])
def test_a_prefix_is_a_text(prefix):
    """Anything else would fail at the first key."""
    with pytest.raises(LockConfigError, match="prefix must be a text"):
        Locks("memory://", prefix=prefix)
