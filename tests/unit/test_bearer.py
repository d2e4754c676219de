"""Which lease a guard goes by, and what it says of the wrong one."""

from __future__ import annotations

import warnings

import pytest

from celery_locks import LockError, LockLost, LockNotOwned, Locks, current_lease
from celery_locks.fencing import FenceWarning
from celery_locks.fencing.bearer import bearer, stale
from celery_locks.lease import Claim, Lease
from celery_locks.stores.memory import MemoryStore
from tests.fencing.leases import separate_leases_of


@pytest.fixture
def locks() -> Locks:
    return Locks(MemoryStore())


def test_the_lease_of_the_running_job_is_the_default(locks):
    """A job that writes hands over nothing."""
    assert locks.run("wallet", lambda: bearer(None) is current_lease())


def test_without_a_lock_a_guard_says_what_to_hand_it():
    """It does not write unguarded."""
    with pytest.raises(LockError, match=r"nothing to write under: no lease here.*hand it to the guard"):
        bearer(None)


def test_a_lock_that_is_held_stands_for_its_lease(locks):
    """`lock.acquire()` gives no lease to hand over."""
    lock = locks.lock("wallet")
    lock.acquire()
    assert bearer(lock) is lock.lease


def test_a_lock_that_is_not_held_is_refused(locks):
    """Its fence would be nobody's."""
    with pytest.raises(LockNotOwned, match="'wallet' cannot be written under"):
        bearer(locks.lock("wallet"))


def test_a_lease_of_another_key_is_refused(locks):
    """Fences order the holders of one key, and say nothing between two."""
    with locks.lock("wallet:1") as lease, pytest.raises(LockNotOwned, match=r"'wallet:2'.*'wallet:1'") as caught:
        bearer(lease, "wallet:2")
    assert caught.value.key == "wallet:2"


def test_a_lease_of_the_key_is_taken(locks):
    """And given back as it is."""
    with locks.lock("wallet:1") as lease:
        assert bearer(lease, "wallet:1") is lease


def test_a_lease_of_several_keys_is_taken_as_that_of_the_one(locks):
    """With its fence for that key; without a key it is as it is."""
    lock = locks.lock(["wallet:1", "wallet:2"])
    lock.acquire()
    lease = lock.lease
    found = bearer(lock, "wallet:2")
    assert (found.keys, found.fence) == (("wallet:2",), lease.fence)
    assert bearer(lease) is lease
    with pytest.raises(LockNotOwned, match=r"'wallet:3'.*\['wallet:1', 'wallet:2'\]"):
        bearer(lease, "wallet:3")
    lease.lose("it is a test")
    with pytest.raises(LockLost):
        bearer(found)


def test_a_lease_without_a_fence_for_all_its_keys_goes_by_that_of_the_key():
    """Where none is named there is none to go by, and the error says how to name it."""
    lease = separate_leases_of(a=5, b=7)
    assert bearer(lease, "b").fence == 7
    assert bearer(lease.of("a")).fence == 5
    with pytest.raises(LockError, match=r"lease.of\('a'\)"):
        bearer(lease)


@pytest.mark.parametrize("end", ["release", "lose"])
def test_a_lease_that_is_known_to_be_over_is_refused(locks, end):
    """Nothing need be asked of the guard then."""
    lock = locks.lock("wallet")
    lock.acquire()
    lease = lock.lease
    lock.release() if end == "release" else lease.lose("it is a test")
    with pytest.raises(LockLost, match="'wallet' is gone"):
        bearer(lease)


def test_a_job_that_runs_although_its_store_is_down_has_nothing_to_write_under():
    """lock_on_outage='run' runs without a lock, and a guard keeps such a job from writing."""
    with pytest.raises(LockLost, match="lock_on_outage='run'"):
        bearer(Lease.unlocked(Claim("wallet", "anna", 30)))


@pytest.mark.parametrize("wrong", [7, "wallet:7", object()])
def test_what_is_no_lease_is_refused(wrong):
    """Not a number, not a key."""
    with pytest.raises(TypeError, match="goes by a lease"):
        bearer(wrong)


def test_what_its_store_says_against_a_fence_is_said_once(locks):
    """In Python's own way, so that a program may turn it into an error."""
    with locks.lock("wallet") as lease, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        lease.caveat = "one of three servers keeps nothing on disk"
        for _ in range(3):
            bearer(lease)
    assert [(each.category, str(each.message)) for each in said] == [(FenceWarning, lease.caveat)]


def test_a_stale_fence_says_what_has_been_there(locks):
    """With the key it is about, and what to do."""
    with locks.lock("wallet") as lease:
        error = stale(lease, "row 7 of wallets", lease.fence + 1)
    assert error.key == "wallet"
    assert str(error).startswith(f"row 7 of wallets was not written: fence {lease.fence} of 'wallet' is stale")
    assert f"fence {lease.fence + 1} has been there" in str(error)
